"""`predict` and `load(path)(file)`: any recording gets an answer, which says what it rests on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
    MediaError,
    UserError,
)
from affectstream.serving import Recognizer, load
from affectstream.serving.inference.predict_options import PredictOptions
from tests.support.factories import sample_source, tone, write_media, write_sound
from tests.support.models import LABELS, error_line, picture, run

KEYS = {
    *("path", "duration_s", "label", "probabilities", "streams"),
    *("face_coverage", "sound_coverage", "speech_share", "known_word_share"),
    *("windows", "warnings"),
}
WINDOW_KEYS = {"start_s", "end_s", *KEYS} - {"path", "duration_s", "windows", "warnings"}
UNHEARD = "no speech in any of the sound: the voice answer means little"  # of a tone
FAST = {"preset": "ultrafast"}


# === Recordings ===


def pictures_of(path: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8 of each frame."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def clip() -> Path:
    """2 s of a drawn face that speaks."""
    return sorted(sample_source().rglob("*.mp4"))[0]


@pytest.fixture(scope="module")
def frames(clip: Path) -> list[np.ndarray]:
    return pictures_of(clip)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, frames: list[np.ndarray]) -> Path:
    """One recording of each kind, 2 s each."""
    out = tmp_path_factory.mktemp("recordings") / "kinds"
    grey = [np.full_like(frames[0], 128)] * len(frames)
    half = len(frames) // 2
    wave = tone(2.0, 48_000)

    def made(name: str, shown: list[np.ndarray], sound: np.ndarray | None) -> None:
        write_media(out / name, shown, fps=25, options=FAST, waveform=sound)

    made("both.mp4", frames, wave)
    made("mute.mp4", frames, None)
    made("silent.mp4", frames, np.zeros(96_000, np.float32))
    made("noface.mp4", grey, wave)
    made("leaves.mp4", frames[:half] + grey[half:], wave)
    made("nothing.mp4", grey, np.zeros(96_000, np.float32))
    write_sound(out / "voice.wav", tone(2.0), 16_000)
    write_sound(out / "long.wav", tone(7.2), 16_000)
    write_sound(out / "short.wav", tone(0.3), 16_000)
    (out / "text.wav").write_text("I am no sound")
    (out / "empty.wav").touch()
    return out


@pytest.fixture(scope="module")
def recognizer(fusion_run: Path) -> Recognizer:
    return load(fusion_run)


def asked(
    capfd: pytest.CaptureFixture[str], *words: object, code: int = EXIT_OK
) -> list[dict[str, Any]]:
    """The lines of `predict --json`."""
    capfd.readouterr()
    assert run("predict", *words, "--json") == code
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


# === The contract ===


def test_a_run_and_its_export_answer_alike(
    recognizer: Recognizer, exported: Path, clip: Path, folder: Path
) -> None:
    served = load(exported)
    assert served.labels == recognizer.labels == LABELS
    assert load(exported / "1").labels == LABELS
    assert repr(served) == f"Recognizer(audio+video -> {', '.join(LABELS)})"
    for path in (clip, folder / "leaves.mp4", folder / "long.wav"):
        one, other = recognizer(path).as_json(), served(path).as_json()
        assert one.keys() == other.keys()
        for key in ("label", "face_coverage", "warnings", "duration_s"):
            assert one[key] == other[key]
        for label in LABELS:
            difference = one["probabilities"][label] - other["probabilities"][label]
            assert abs(difference) < 1e-4
        assert [w["label"] for w in one["windows"]] == [w["label"] for w in other["windows"]]


def test_the_keys_of_the_json(
    fusion_run: Path, clip: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = asked(capfd, clip, folder / "long.wav", "--model", fusion_run)
    assert [answer["path"] for answer in answers] == [str(clip), str(folder / "long.wav")]
    for answer in answers:
        assert set(answer) == KEYS
        assert set(answer["probabilities"]) == set(LABELS)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
        for window in answer["windows"]:
            assert set(window) == WINDOW_KEYS
            assert set(window["probabilities"]) == set(LABELS)
        # The mean over the windows, of the whole and of each stream.
        for label in LABELS:
            told = [window["probabilities"][label] for window in answer["windows"]]
            assert answer["probabilities"][label] == pytest.approx(np.mean(told), abs=1e-5)
        for stream, shares in answer["streams"].items():
            told = [w["streams"][stream]["sad"] for w in answer["windows"]]
            assert shares["sad"] == pytest.approx(np.mean(told), abs=1e-5)
    assert answers[0]["duration_s"] == pytest.approx(2.0, abs=0.1)
    assert set(answers[0]["streams"]) == {"audio", "video"}
    assert answers[0]["face_coverage"] == 1.0
    assert set(answers[1]["streams"]) == {"audio"}
    assert answers[1]["face_coverage"] is None


def test_in_python_the_same(
    recognizer: Recognizer, fusion_run: Path, clip: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (typed,) = asked(capfd, clip, "--model", fusion_run)
    assert recognizer(clip).as_json() == typed
    assert recognizer(str(clip)).as_json() == typed


def test_predict_tells_its_answers_in_words(
    fusion_run: Path, clip: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", clip, folder / "long.wav", "--model", fusion_run) == EXIT_OK
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{clip}: ")
    assert lines[0].endswith("audio+video, face 100%, sound 100%, speech 53%)")
    assert lines[1].endswith("7.2 s, audio, sound 100%, speech 0%)")
    assert len(lines) == 2 + 4  # and the windows of the long one
    assert "warning: no picture: answered without video" in said.err


# === What is missing is left out, and said ===


@pytest.mark.parametrize(
    ("name", "streams", "coverage", "warning"),
    [
        ("both.mp4", {"audio", "video"}, 1.0, None),
        ("mute.mp4", {"video"}, 1.0, "no sound: answered without audio"),
        ("silent.mp4", {"video"}, 1.0, "silent: answered without audio"),
        ("noface.mp4", {"audio"}, 0.0, "no face found: answered without video"),
        ("voice.wav", {"audio"}, None, "no picture: answered without video"),
        ("short.wav", {"audio"}, None, "no picture: answered without video"),
    ],
)
def test_any_stream_may_be_missing(
    name: str,
    streams: set[str],
    coverage: float | None,
    warning: str | None,
    recognizer: Recognizer,
    folder: Path,
) -> None:
    answer = recognizer(folder / name)
    assert set(answer.streams) == streams
    assert answer.face_coverage == coverage
    expected = [*([warning] if warning else []), *([UNHEARD] if "audio" in streams else [])]
    assert list(answer.warnings) == expected
    assert answer.speech_share == (0.0 if "audio" in streams else answer.speech_share)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    if len(streams) == 1:  # alone, a stream's own answer is the answer
        (alone,) = answer.streams.values()
        assert max(alone, key=lambda k: alone[k]) == answer.label


def test_a_face_that_leaves_reports_its_coverage(recognizer: Recognizer, folder: Path) -> None:
    answer = recognizer(folder / "leaves.mp4")
    assert answer.face_coverage == 0.5
    assert set(answer.streams) == {"audio", "video"}
    cut = recognizer(folder / "leaves.mp4", PredictOptions(window_s=0.5, hop_s=0.5))
    coverages = [window.face_coverage for window in cut.windows]
    assert coverages[0] == 1.0
    assert coverages[-1] == 0.0
    assert set(cut.windows[0].streams) == {"audio", "video"}
    assert set(cut.windows[-1].streams) == {"audio"}


def test_what_says_nothing_is_rejected(recognizer: Recognizer, folder: Path) -> None:
    with pytest.raises(MediaError, match=r"nothing\.mp4: no sound \(or silence\) and no face"):
        recognizer(folder / "nothing.mp4")


def test_a_model_of_one_stream_asks_for_it(
    audio_run: Path, video_run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for model, name, line in (
        (audio_run, "mute.mp4", "mute.mp4: no sound, and the model knows sound only"),
        (video_run, "voice.wav", "voice.wav: no picture, and the model knows pictures only"),
        (audio_run, "silent.mp4", "silent.mp4: no sound (or silence) throughout"),
        (video_run, "noface.mp4", "noface.mp4: no face throughout"),
    ):
        words = (folder / name, "--model", model)
        (answer,) = asked(capfd, *words, code=EXIT_FAILURE)
        assert set(answer) == {"path", "error"}
        assert line in answer["error"]
    (answer,) = asked(capfd, folder / "both.mp4", "--model", audio_run)
    assert set(answer["streams"]) == {"audio"}
    assert answer["face_coverage"] is None  # nobody looked


def test_a_picture_may_be_taken_whole_as_a_face(
    video_run: Path, folder: Path, frames: list[np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", video_run, "--detector", "none")
    (answer,) = asked(capfd, folder / "noface.mp4", *words)
    assert answer["face_coverage"] == 1.0
    whole = load(video_run, detector="none")
    assert whole(folder / "noface.mp4").as_json() == answer
    height_px, width_px = frames[0].shape[:2]
    side_px = min(height_px, width_px)
    boxes = {box for _, box in whole(folder / "mute.mp4").boxes}
    left, top = (width_px - side_px) / 2, (height_px - side_px) / 2
    assert boxes == {(left, top, side_px, side_px)}


def test_a_detector_is_for_models_that_cut_out_faces(
    audio_run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (folder / "voice.wav", "--model", audio_run, "--detector", "none")
    assert run("predict", *words) == EXIT_FAILURE
    said = error_line(capfd.readouterr().err)
    assert said == "Error: detector none: the model cuts out no faces (audio); leave it out"


# === Windows ===


def test_windows_of_a_long_file(recognizer: Recognizer, folder: Path) -> None:
    """Evenly spread; a window is as long as the model's front end looks."""
    answer = recognizer(folder / "long.wav")
    spans = [(round(w.start_s, 2), round(w.end_s, 2)) for w in answer.windows]
    assert spans == [(0, 3.49), (1.24, 4.72), (2.48, 5.96), (3.71, 7.2)]
    assert answer.duration_s == pytest.approx(7.2, abs=0.01)
    finer = recognizer(folder / "long.wav", PredictOptions(window_s=2.2, hop_s=1.0))
    assert [round(w.start_s, 2) for w in finer.windows] == [0, 1, 2, 3, 4, 5]
    shorter = recognizer(folder / "long.wav", PredictOptions(window_s=1.2))  # a hop of at most that
    assert [round(w.start_s, 2) for w in shorter.windows] == [0, 1.2, 2.4, 3.6, 4.8, 6]


def test_windows_of_its_own_are_asked_for(recognizer: Recognizer, folder: Path) -> None:
    """A recording that is taken whole else is cut then."""
    assert len(recognizer(folder / "both.mp4").windows) == 1
    cut = recognizer(folder / "both.mp4", PredictOptions(window_s=1.0, hop_s=0.5))
    spans = [(round(w.start_s, 6), round(w.end_s, 6)) for w in cut.windows]
    assert spans == [(0, 1), (0.5, 1.5), (1, 2)]
    with pytest.raises(UserError, match=r"hop_s=5 must not be above window_s, of this model 3\.48"):
        recognizer(folder / "both.mp4", PredictOptions(hop_s=5))


def test_a_window_answers_for_its_own_stretch(
    recognizer: Recognizer, tmp_path: Path, folder: Path
) -> None:
    """Cut out and asked alone it says the same."""
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(3 * 16_000)).astype(np.float32)
    wave = np.concatenate([tone(3.0), noise, tone(3.0, hz=1500)])
    write_sound(tmp_path / "whole.wav", wave, 16_000)
    whole = recognizer(tmp_path / "whole.wav", PredictOptions(window_s=3.0, hop_s=3.0))
    assert len(whole.windows) == 3
    for index, window in enumerate(whole.windows):
        part = write_sound(
            tmp_path / f"{index}.wav", wave[index * 48_000 : (index + 1) * 48_000], 16_000
        )
        alone = recognizer(part).probabilities
        for label in LABELS:
            assert alone[label] == pytest.approx(window.probabilities[label], abs=1e-3)


# === Several faces ===


def test_every_face_is_answered_for(
    recognizer: Recognizer,
    fusion_run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    clips = sorted(sample_source().rglob("*.mp4"))
    sides = [pictures_of(clips[0]), pictures_of(clips[-1])]
    both = [np.hstack(pair) for pair in zip(*sides, strict=False)]
    path = write_media(tmp_path / "two.mp4", both, fps=25, options=FAST)
    one = recognizer(path)
    assert one.faces == ()
    (told,) = asked(capfd, path, "--model", fusion_run, "--face", "all")
    assert set(told) == KEYS | {"faces"}
    assert len(told["faces"]) == 2
    for face in told["faces"]:
        assert set(face) == {"face", "label", "probabilities", "face_coverage", "num_windows"}
        assert face["face_coverage"] > 0.8
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    # The answer follows one of them.
    followed = [
        one.probabilities["sad"] == pytest.approx(f["probabilities"]["sad"], abs=1e-3)
        for f in told["faces"]
    ]
    assert any(followed)
    with pytest.raises(ValueError, match="face must be 'largest' or 'all', received 'each'"):
        recognizer(path, PredictOptions(face="each"))
    with pytest.raises(ValueError, match="0 < hop_s <= window_s is needed, received 2, 1"):
        recognizer(path, PredictOptions(window_s=1.0, hop_s=2.0))


# === Files ===


def test_a_folder_with_bad_files_in_it(
    fusion_run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        folder,
        "--model",
        fusion_run,
        "--csv",
        tmp_path / "w.csv",
        "--plot",
        tmp_path / "p.png",
    )
    answers = asked(capfd, *words, code=EXIT_PARTIAL)
    by_name = {Path(answer["path"]).name: answer for answer in answers}
    assert set(by_name) == {path.name for path in folder.iterdir()}
    rejected = {name for name, answer in by_name.items() if "error" in answer}
    assert rejected == {"text.wav", "empty.wav", "nothing.mp4"}
    for name in rejected:
        assert set(by_name[name]) == {"path", "error"}
        assert name in by_name[name]["error"]
        assert "\n" not in by_name[name]["error"]
    with open(tmp_path / "w.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shares = ("face_coverage", "sound_coverage", "speech_share", "known_word_share")
    columns = ["path", "start_s", "end_s", "label", *shares, "streams", *LABELS]
    assert list(rows[0]) == columns
    assert len(rows) == sum(len(answer.get("windows", ())) for answer in answers)
    long = [row for row in rows if row["path"].endswith("long.wav")]
    assert [row["end_s"] for row in long] == ["3.486", "4.724", "5.962", "7.2"]
    assert {(row["face_coverage"], row["sound_coverage"]) for row in long} == {("", "1.0")}
    assert {row["streams"] for row in long} == {"audio"}
    pictures = {path.name for path in tmp_path.glob("p-*.png")}
    assert pictures == {f"p-{Path(n).stem}.png" for n in by_name.keys() - rejected}


def test_only_bad_files(
    fusion_run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", folder / "text.wav", folder / "absent.mp4", "--model", fusion_run)
    assert run(*words) == EXIT_FAILURE
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    rejected = [line for line in said.err.splitlines() if line.startswith("rejected ")]
    assert len(rejected) == 2
    assert "text.wav" in rejected[0]
    assert "absent.mp4" in rejected[1]
    assert run("predict", tmp_path, "--model", fusion_run) == EXIT_FAILURE
    assert f"{tmp_path}: no media file in this folder" in error_line(capfd.readouterr().err)


def test_wrong_usage_of_predict_ends_with_exit_code_2(
    fusion_run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    voice = folder / "voice.wav"
    for words in (
        (),
        (voice, "--window-s", 1, "--hop-s", 2),
        (voice, "--window-s", 0),
        (voice, "--face", "each"),
        (voice, voice, "--annotate", tmp_path / "a.mp4"),
        (voice, "--weights-dir", tmp_path / "absent"),
    ):
        assert run("predict", *words, "--model", fusion_run) == EXIT_USAGE
        assert "Traceback" not in capfd.readouterr().err


def test_the_model_when_none_is_named(
    fusion_run: Path,
    audio_run: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "affectstream.serving.bundled.bundled_models.BUNDLED_DIR", tmp_path / "none"
    )
    assert run("predict", folder / "voice.wav") == EXIT_FAILURE
    assert "no model: none of runs/fusion" in error_line(capfd.readouterr().err)
    (tmp_path / "runs").mkdir()
    for name, target in (("audio", audio_run), ("fusion", fusion_run)):
        (tmp_path / "runs" / name).symlink_to(target)
        assert run("predict", folder / "voice.wav") == EXIT_OK
        assert f"model: runs/{name}" in capfd.readouterr().err


# === Pictures and films ===


def test_predict_draws_a_time_line_of_each_file(
    fusion_run: Path, folder: Path, tmp_path: Path
) -> None:
    for name in ("long.wav", "both.mp4"):
        out = tmp_path / f"{name}.png"
        assert run("predict", folder / name, "--model", fusion_run, "--plot", out) == EXIT_OK
        shown = picture(out)
        assert shown.shape[1] == 1100
        assert shown.std() > 5
    # One panel for the answer, and one more a stream where there are several.
    heights = [picture(tmp_path / f"{n}.png").shape[0] for n in ("long.wav", "both.mp4")]
    assert heights[1] > 2 * heights[0] * 0.8


def test_annotate(fusion_run: Path, folder: Path, frames: list[np.ndarray], tmp_path: Path) -> None:
    out = tmp_path / "annotated.mp4"
    source = folder / "leaves.mp4"
    assert run("predict", source, "--model", fusion_run, "--annotate", out) == EXIT_OK
    with av.open(str(out)) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
        assert (container.duration or 0) / av.time_base == pytest.approx(2.0, abs=0.1)
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(shown) == len(frames)
    assert shown[0].shape == frames[0].shape
    plain = pictures_of(source)

    def changed(index: int) -> np.ndarray:
        """(H, W) bool: where the film differs from what was recorded."""
        difference = shown[index].astype(int) - plain[index]
        return np.abs(difference).max(axis=2) > 60

    height, width = shown[0].shape[:2]
    panel = (slice(0, height // 4), slice(0, width // 4))
    assert changed(5)[panel].mean() > 0.2
    assert changed(len(shown) - 1)[panel].mean() > 0.2
    # The box is there while the face is, and gone when it has left.
    outside = np.ones((height, width), bool)
    outside[: height // 2, : width // 2] = False
    assert changed(10)[outside].sum() > 100
    assert changed(len(shown) - 1)[outside].sum() < 20


def test_annotate_needs_a_picture(
    fusion_run: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "annotated.mp4"
    words = ("predict", folder / "voice.wav", "--model", fusion_run, "--annotate", out)
    assert run(*words) == EXIT_FAILURE
    assert "voice.wav: no picture to draw on; --annotate needs a video" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


# === Real recordings ===


@pytest.mark.real
def test_real_recordings(
    fusion_run: Path, real_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What they say means nothing, the model has seen toys only; what they are is told right."""
    clips = real_data / "clips"
    answers = {Path(a["path"]).name: a for a in asked(capfd, clips, "--model", fusion_run)}
    assert set(answers) == {path.name for path in clips.iterdir()}
    for answer in answers.values():
        assert set(answer) == KEYS
        assert answer["windows"][0]["start_s"] == 0
        assert answer["windows"][-1]["end_s"] == pytest.approx(answer["duration_s"], abs=0.06)
        assert answer["streams"]
    coverage = {name: answer["face_coverage"] for name, answer in answers.items()}
    assert coverage["01-01-08-02-01-01-19.mp4"] > 0.9
    assert coverage["pyfeat_single_face.mp4"] > 0.9
    assert coverage["pyfeat_no_face.mp4"] < 0.15
    assert 0.15 < coverage["pyfeat_face_noface.mov"] < 0.85
    streams = {name: set(answer["streams"]) for name, answer in answers.items()}
    assert streams["01-01-08-02-01-01-19.mp4"] == {"video"}  # recorded without sound
    assert streams["pyfeat_face_noface.mov"] >= {"video"}
