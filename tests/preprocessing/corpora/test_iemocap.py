"""IEMOCAP in the format of its release: turns, malformed lines, pictures in another file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from affectstream import cli
from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_USAGE, MediaError, UserError
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.clip import Clip, CompanionVideo, CorpusIndex
from affectstream.preprocessing.corpora.iemocap import IEMOCAP
from affectstream.preprocessing.media.companion_video import crop_half
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.records.fingerprints import input_fingerprints
from affectstream.preprocessing.records.preprocess import preprocess
from affectstream.preprocessing.records.record import Record
from affectstream.preprocessing.records.record_builder import RecordBuilder
from affectstream.preprocessing.records.record_settings import RecordSettings
from tests.support import factories
from tests.support.iemocap_release import (
    HEADER,
    avi_file,
    evaluation_file,
    transcription_file,
    turn_lines,
    wav_file,
    write_dialogue,
    write_release,
    write_video,
)

DIALOGUE = "Ses01F_impro01"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_release(tmp_path / "IEMOCAP_full_release")


def by_turn(found: CorpusIndex) -> dict[str, Clip]:
    return {clip.recording.partition("/")[2]: clip for clip in found.clips}


# === Turns ===


def test_every_labelled_turn_becomes_a_clip(root: Path) -> None:
    found = IEMOCAP.build_index(root)
    assert not found.rejected
    assert not found.skipped
    assert len(found.clips) == 2 * 2 * 2 * 4
    clip = by_turn(found)["Ses02M_script01_1_F001"]
    assert clip.name == "Session2/sentences/wav/Ses02M_script01_1/Ses02M_script01_1_F001.wav"
    assert clip.path == root / clip.name
    assert (clip.corpus, clip.label, clip.speaker) == ("iemocap", "happy", "iemocap/Ses02F")
    assert clip.recording == "iemocap/Ses02M_script01_1_F001"
    assert clip.transcript == "This is Ses02M_script01_1_F001."
    assert clip.pictures is None
    assert clip.attributes == {
        "session": "2",
        "dialogue": "Ses02M_script01_1",
        "dialogue_start_s": "1.5",
        "dialogue_end_s": "2",
        "acting": "scripted",
        "sex": "female",
        "valence": "2.5",
        "arousal": "3",
        "dominance": "3.5",
        "agreement": "0.667",
    }


def test_the_nine_emotions_and_the_two_codes_that_are_no_label(tmp_path: Path) -> None:
    codes = ("ang", "hap", "exc", "sad", "fru", "fea", "sur", "neu", "dis", "xxx", "oth")
    write_dialogue(tmp_path, DIALOGUE, codes)
    found = IEMOCAP.build_index(tmp_path)
    assert [clip.label for clip in found.clips[:9]] == [
        *("angry", "happy", "excited", "sad", "frustrated"),
        *("fearful", "surprised", "neutral", "disgust"),
    ]
    assert found.skipped == {
        "xxx: the evaluators did not agree": 2,
        "oth: an emotion that has no label here": 2,
    }


def test_one_session_gives_the_same_clips_as_the_release(root: Path) -> None:
    whole = [clip for clip in IEMOCAP.build_index(root).clips if clip.attributes["session"] == "2"]
    assert list(IEMOCAP.build_index(root / "Session2").clips) == whole


def test_iemocap_can_be_read_without_its_scripts(root: Path) -> None:
    found = dataclasses.replace(IEMOCAP, improvised_only=True).build_index(root)
    assert {clip.attributes["acting"] for clip in found.clips} == {"improvised"}
    assert found.skipped == {"scripted dialogues (improvised only)": 16}


def test_hidden_files_and_other_folders_of_evaluations_are_passed_over(root: Path) -> None:
    folder = evaluation_file(root, DIALOGUE).parent
    (folder / f"._{DIALOGUE}.txt").write_bytes(b"\x00\x05\x16\x07 nothing to read")
    (folder / "Categorical").mkdir()
    (folder / "Categorical" / f"{DIALOGUE}_e1_cat.txt").write_text("Ses01F_impro01_F000 :Neutral\n")
    found = IEMOCAP.build_index(root)
    assert not found.rejected
    assert len(found.clips) == 32


def test_transcripts_in_code_page_1252_and_lines_that_name_no_turn(root: Path) -> None:
    path = transcription_file(root, DIALOGUE)
    path.write_bytes(
        b"Ses01F_impro01_F000 [001.0000-001.5000]: It\x92s caf\xe9: [LAUGHTER] no?\r\n"
        b"M: [LAUGHTER]\r\n"
        b"Ses01F_impro01_F001 and nothing else\r\n"
        b"Ses01F_impro01_F000 [001.0000-001.5000]: Again.\r\n"
    )
    found = IEMOCAP.build_index(root)
    clips = by_turn(found)
    assert clips["Ses01F_impro01_F000"].transcript == "It’s café: [LAUGHTER] no?"
    assert clips["Ses01F_impro01_M000"].transcript == ""
    assert found.skipped == {"lines of transcriptions that name no turn": 1}
    shown = f"Session1/dialog/transcriptions/{DIALOGUE}.txt"
    assert {one.path: one.reason for one in found.rejected} == {
        f"{shown}:3": "not of the form TURN [start-end]: text; mend the line",
        f"{shown}:4": "Ses01F_impro01_F000 has a line already; keep one of them",
    }


def test_without_any_transcription_the_transcripts_are_empty(root: Path) -> None:
    transcription_file(root, DIALOGUE).unlink()
    found = IEMOCAP.build_index(root)
    assert not found.rejected
    assert by_turn(found)["Ses01F_impro01_F000"].transcript == ""


# === What cannot be used ===


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1.0 - 2.0] Ses01F_impro01_F007 neu", "not of the form [start - end] TURN emotion"),
        ("[1.0 - 2.0]\tSes01F_impro01\tneu\t[2, 2, 2]", "turn 'Ses01F_impro01' is not named like"),
        ("[1.0 - 2.0]\tSes02F_impro01_F007\tneu\t[2, 2, 2]", "is no turn of Ses01F_impro01"),
        ("[2.0 - 2.0]\tSes01F_impro01_F007\tneu\t[2, 2, 2]", "from 2.0 to 2.0 s is no stretch"),
        ("[nan - 2.0]\tSes01F_impro01_F007\tneu\t[2, 2, 2]", "from nan to 2.0 s is no stretch"),
        ("[1.0 - 2.0]\tSes01F_impro01_F007\tjoy\t[2, 2, 2]", "unknown emotion 'joy'; one of ang"),
        ("[1.0 - 2.0]\tSes01F_impro01_F007\tneu\t[2, two, 2]", "[2, two, 2] is not three numbers"),
        ("[1.0 - 2.0]\tSes01F_impro01_F007\tneu\t[2, 2]", "[2, 2] is not three numbers"),
        ("[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[2, 2, 2]", "is in the evaluations already"),
        ("[1.0 - 2.0]\tSes01F_impro01_F007\tneu\t[2, 2, 2]", "no Session1/sentences/wav/Ses01F_"),
        ("C-E1 Neutral (", "an evaluator's line not of the form C-E1: Emotion; (comment)"),
        ("Ses01F_impro01_F007 neu", "neither a turn ([start - end] TURN emotion"),
    ],
)
def test_a_malformed_line_is_rejected_with_its_number_and_the_rest_is_kept(
    root: Path, line: str, reason: str
) -> None:
    path = evaluation_file(root, DIALOGUE)
    whole = path.read_text()
    number = whole.count("\n") + 2
    after = turn_lines("Ses01F_impro01_M000", "ang", 9.0, 9.5)
    kept = whole.replace(turn_lines("Ses01F_impro01_M000", "ang", 3.0, 3.5), "")
    assert kept != whole
    number -= whole.count("\n") - kept.count("\n")
    path.write_text(f"{kept}\n{line}\nC-E1:\tFear;\t()\n\n{after}")
    found = IEMOCAP.build_index(root)
    (rejection,) = found.rejected
    assert rejection.path == f"Session1/dialog/EmoEvaluation/{DIALOGUE}.txt:{number}"
    assert reason in rejection.reason
    assert "\n" not in rejection.reason
    assert len(found.clips) == 32
    clips = by_turn(found)
    assert clips["Ses01F_impro01_M000"].attributes["dialogue_start_s"] == "9"
    assert clips["Ses01F_impro01_M000"].attributes["agreement"] == "0.667"


def test_an_evaluator_above_the_first_turn(root: Path) -> None:
    path = evaluation_file(root, DIALOGUE)
    path.write_text(f"{HEADER}\nC-E1:\tNeutral;\t()\n")
    (rejection,) = IEMOCAP.build_index(root).rejected
    assert rejection.path.endswith(f"{DIALOGUE}.txt:3")
    assert "an evaluator above the first turn" in rejection.reason


def test_a_turn_without_evaluators_has_no_agreement(root: Path) -> None:
    path = evaluation_file(root, DIALOGUE)
    path.write_text("[1.0 - 1.5]\tSes01F_impro01_F000\tneu\t[2, 2, 2]\n")
    clip = by_turn(IEMOCAP.build_index(root))["Ses01F_impro01_F000"]
    assert "agreement" not in clip.attributes


def test_what_is_not_iemocap(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"absent: no such folder; .*https://sail\.usc\.edu/iemocap"
    ):
        IEMOCAP.build_index(tmp_path / "absent")
    (tmp_path / "03-01-05-01-01-01-01.wav").touch()
    with pytest.raises(UserError) as raised:
        IEMOCAP.build_index(tmp_path)
    assert "looked for Session1/dialog/EmoEvaluation/*.txt" in str(raised.value)
    assert "https://sail.usc.edu/iemocap/" in str(raised.value)
    assert "it looks like ravdess: use --corpus ravdess" in str(raised.value)


def test_improvised_only_is_for_corpora_with_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corpus", "ravdess", "--source", str(tmp_path), "--improvised-only"]
    assert cli.main(["preprocess", *words, "--out", str(tmp_path / "out")]) == EXIT_USAGE
    assert "--improvised-only is for iemocap; ravdess has no scripts" in capsys.readouterr().err


def test_records_of_another_choice_of_dialogues_are_not_mixed(root: Path, tmp_path: Path) -> None:
    settings = RecordSettings("none")
    improvised = dataclasses.replace(IEMOCAP, improvised_only=True)
    result = preprocess(improvised, root, tmp_path / "out", settings)
    assert len(result.rows) == 16
    with pytest.raises(UserError, match=r"corpus_options: \{'improvised_only': True\} there"):
        preprocess(IEMOCAP, root, tmp_path / "out", settings)


# === Pictures in the video of the dialogue ===

WIDTH_PX = HEIGHT_PX = 64
NUM_FRAMES = 160
SETTINGS = RecordSettings("none", FrameSampling("time", 4), CropFormat(64, "grey"), max_clip_s=10.0)


def both_halves(number: int) -> np.ndarray:
    """The number on the left, 255 less the number on the right."""
    left = factories.numbered_image(number, WIDTH_PX, HEIGHT_PX)
    right = factories.numbered_image(255 - number, WIDTH_PX, HEIGHT_PX)
    return np.concatenate([left, right], axis=1)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dialogue of four turns of 0.5 s, the first two the woman's, from 1 s on."""
    root = tmp_path_factory.mktemp("filmed")
    write_dialogue(root, DIALOGUE, ("ang", "sad"))
    write_video(root, DIALOGUE, [both_halves(number) for number in range(NUM_FRAMES)])
    return root


def shown_numbers(record: Record) -> list[int]:
    return [factories.number_of(face) for face in record.faces]


def test_the_actor_with_the_markers_is_on_the_left(filmed: Path) -> None:
    clips = by_turn(IEMOCAP.build_index(filmed))
    path = avi_file(filmed, DIALOGUE)
    name = f"Session1/dialog/avi/DivX/{DIALOGUE}.avi"
    assert clips["Ses01F_impro01_F001"].pictures == CompanionVideo(path, name, 1.5, 2.0, "left")
    assert clips["Ses01F_impro01_M001"].pictures == CompanionVideo(path, name, 2.5, 3.0, "right")


@pytest.mark.parametrize(
    ("turn", "numbers"),
    [
        # Moments 1/16, 3/16, 5/16 and 7/16 s after 1.5 s and 2.5 s, at 25 frames a second.
        ("F001", [39, 42, 45, 48]),
        ("M001", [255 - 64, 255 - 67, 255 - 70, 255 - 73]),
    ],
)
def test_sound_of_the_turn_with_the_speakers_half_of_the_pictures(
    filmed: Path, turn: str, numbers: list[int]
) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))[f"Ses01F_impro01_{turn}"]
    (record,) = RecordBuilder(SETTINGS).records(clip)
    assert len(record.waveform) == 8_000
    assert record.face_mask.all()
    assert shown_numbers(record) == numbers
    first = numbers if turn == "F001" else [255 - number for number in numbers]
    start_s = 1.5 if turn == "F001" else 2.5
    expected = np.array(first) / 25 - start_s
    np.testing.assert_allclose(record.frame_times_s, expected, atol=1e-3)
    assert record.path == clip.key


def test_a_long_turn_becomes_consecutive_records_with_pictures_of_their_own_time(
    filmed: Path,
) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))["Ses01F_impro01_F000"]
    halved = dataclasses.replace(SETTINGS, max_clip_s=0.25)
    first, second = RecordBuilder(halved).records(clip)
    assert (first.start_s, first.end_s, second.end_s) == (0.0, 0.25, 0.5)
    assert shown_numbers(first) == [25, 27, 28, 30]
    assert shown_numbers(second) == [32, 33, 35, 36]
    assert len(first.waveform) == len(second.waveform) == 4_000


def test_without_the_video_there_is_sound_alone(filmed: Path) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))["Ses01F_impro01_F000"]
    (record,) = RecordBuilder(SETTINGS).records(dataclasses.replace(clip, pictures=None))
    assert len(record.waveform) == 8_000
    assert not len(record.faces)


def test_a_video_that_ends_too_early_or_holds_no_pictures(filmed: Path) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))["Ses01F_impro01_F000"]
    assert clip.pictures is not None
    late = dataclasses.replace(clip.pictures, start_s=70.0, end_s=71.0)
    with pytest.raises(MediaError, match=r"impro01\.avi: holds 6\.4 s, needed from 70 s on"):
        list(RecordBuilder(SETTINGS).records(dataclasses.replace(clip, pictures=late)))
    sound = dataclasses.replace(clip.pictures, path=clip.path, name="sound.wav")
    with pytest.raises(MediaError, match=r"sound\.wav: holds no pictures"):
        list(RecordBuilder(SETTINGS).records(dataclasses.replace(clip, pictures=sound)))
    absent = dataclasses.replace(clip.pictures, path=filmed / "absent.avi", name="absent.avi")
    with pytest.raises(MediaError, match=r"absent\.avi"):
        list(RecordBuilder(SETTINGS).records(dataclasses.replace(clip, pictures=absent)))


def test_halves_of_a_picture() -> None:
    picture = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    np.testing.assert_array_equal(crop_half(picture, "left"), picture[:, :2])
    np.testing.assert_array_equal(crop_half(picture, "right"), picture[:, 3:])
    assert crop_half(picture, "") is picture


def test_a_clip_is_done_anew_when_its_video_changes(filmed: Path, tmp_path: Path) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))["Ses01F_impro01_F000"]
    assert clip.pictures is not None
    video = tmp_path / "copy.avi"
    video.write_bytes(clip.pictures.path.read_bytes())
    moved = dataclasses.replace(clip, pictures=dataclasses.replace(clip.pictures, path=video))
    before = input_fingerprints([moved], {})
    assert before == input_fingerprints([moved], {})
    assert atomic_io.digest(before)
    os.utime(video, ns=(0, 0))
    assert input_fingerprints([moved], {}) != before
    others = dataclasses.replace(
        moved, pictures=dataclasses.replace(clip.pictures, path=video, half="right")
    )
    assert input_fingerprints([others], {}) != input_fingerprints([moved], {})


def test_a_missing_wav_names_the_file(root: Path) -> None:
    wav_file(root, "Ses01F_impro01_F002").unlink()
    (rejection,) = IEMOCAP.build_index(root).rejected
    expected = "no Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F002.wav"
    assert rejection.reason == f"{expected}; unpack sentences/wav of the release"


def test_a_turn_much_longer_than_its_evaluation_says(filmed: Path, tmp_path: Path) -> None:
    clip = by_turn(IEMOCAP.build_index(filmed))["Ses01F_impro01_F000"]
    assert clip.expected_duration_s == 0.5
    wav = factories.write_sound(tmp_path / "long.wav", factories.tone(60.0, 8_000), 8_000)
    with pytest.raises(MediaError, match=r"lasts 60\.0 s but the table says 0\.5 s"):
        list(RecordBuilder(SETTINGS).records(dataclasses.replace(clip, path=wav, pictures=None)))


def test_a_session_that_cannot_be_entered_is_rejected(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = len(IEMOCAP.build_index(root).clips)
    listed = Path.iterdir

    def guarded(path: Path) -> Iterator[Path]:
        if path == root / "Session2/dialog/EmoEvaluation":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", guarded)
    found = IEMOCAP.build_index(root)
    assert len(found.clips) == whole // 2
    (rejection,) = found.rejected
    assert rejection.path == "Session2"
    assert "Session2/dialog/EmoEvaluation: no permission" in rejection.reason
