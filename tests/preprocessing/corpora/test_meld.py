"""MELD: its tables, its parts, its clips, and what happens where one is missing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from affectstream.core.errors import EXIT_PARTIAL, UserError
from affectstream.preprocessing.clip import CorpusIndex
from affectstream.preprocessing.corpora.meld import (
    MELD,
    decode,
    read_meld_table,
    utterance_duration_s,
)
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from tests.support.factories import preprocess, tone, write_sound

COLUMNS = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode"
FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def table(folder: Path, part: str, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}_sent_emo.csv"
    path.write_text("\n".join([COLUMNS, *rows]), encoding="utf-8")
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One dialogue a part, of the same number in each, as the publisher unpacks it."""
    folder = tmp_path / "MELD.Raw"
    for part, media in FOLDERS.items():
        table(folder / part, part, '1,"Oh, no!",Ross,joy,positive,0,0,8,21')
        touch(folder, f"{part}/{media}/dia0_utt0.mp4")
    return folder


def inventory(source: Path) -> CorpusIndex:
    return MELD.build_index(source)


def test_a_row_becomes_a_clip_of_its_own_part(source: Path) -> None:
    found = inventory(source)
    assert not found.rejected
    assert not found.skipped
    shown = {clip.name: (clip.split, clip.recording) for clip in found.clips}
    assert shown == {
        "dev/dev_splits_complete/dia0_utt0.mp4": ("validation", "meld/dev/dia0_utt0"),
        "test/output_repeated_splits_test/dia0_utt0.mp4": ("test", "meld/test/dia0_utt0"),
        "train/train_splits/dia0_utt0.mp4": ("train", "meld/train/dia0_utt0"),
    }
    clip = found.clips[0]
    assert (clip.label, clip.speaker, clip.transcript) == ("happy", "meld/Ross", "Oh, no!")
    assert clip.attributes == {
        "part": "dev",
        "dialogue": "dev/0",
        "sentiment": "positive",
        "season": "8",
        "episode": "21",
    }


def test_the_seven_emotions(tmp_path: Path) -> None:
    wanted = {
        "anger": "angry",
        "disgust": "disgust",
        "fear": "fearful",
        "joy": "happy",
        "neutral": "neutral",
        "sadness": "sad",
        "surprise": "surprised",
    }
    source = tmp_path / "meld"
    rows = [f"{n},Hm.,Joey,{word},x,3,{n},1,1" for n, word in enumerate(wanted)]
    table(source, "train", *rows)
    touch(source, *(f"audio/train/dia3_utt{n}.wav" for n in range(7)))
    labels = [clip.label for clip in inventory(source).clips]
    assert labels == list(wanted.values())


def test_a_missing_clip_is_rejected_and_the_same_number_of_another_part_is_not_taken(
    source: Path,
) -> None:
    table(
        source / "dev",
        "dev",
        "1,Hi.,Ross,joy,positive,0,0,8,21",
        "2,Bye.,Monica,anger,negative,7,1,8,21",
    )
    touch(source, "train/train_splits/dia7_utt1.mp4")
    found = inventory(source)
    (rejection,) = found.rejected
    assert rejection.path == "dev/dev_sent_emo.csv:3"
    assert "dia7_utt1: no such clip below a dev folder" in rejection.reason
    assert found.skipped == {"clips that no row of the tables names": 1}


def test_a_part_without_any_clip_is_left_out_and_counted(source: Path) -> None:
    (source / "train/train_splits/dia0_utt0.mp4").unlink()
    found = inventory(source)
    assert {clip.split for clip in found.clips} == {"validation", "test"}
    assert found.skipped == {"train: no clip of this part in the folder": 1}
    assert not found.rejected


def test_video_before_sound_and_hidden_or_odd_files_are_no_clips(source: Path) -> None:
    test = "test/output_repeated_splits_test"
    touch(source, f"{test}/._dia0_utt0.mp4", f"{test}/final_videos_testdia0_utt0.mp4")
    touch(source, f"{test}/dia0_utt0.wav", "elsewhere/dia0_utt0.mp4")
    found = inventory(source)
    names = {clip.split: clip.name for clip in found.clips}
    assert names["test"] == f"{test}/dia0_utt0.mp4"
    assert found.skipped == {
        "another file of the same recording is used": 1,
        "not named like PART/dia0_utt0.mp4": 2,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,Hi.,Ross,bliss,x,0,0,8,21", "unknown emotion 'bliss'"),
        ("1,Hi.,Ross,joy,x,zero,0,8,21", "are not numbers"),
        ("1,Hi.", "unknown emotion ''"),
    ],
)
def test_bad_rows_are_rejected(source: Path, row: str, message: str) -> None:
    table(source / "train", "train", row)
    (rejection,) = inventory(source).rejected
    assert rejection.path == "train/train_sent_emo.csv:2"
    assert message in rejection.reason


def test_two_rows_of_one_clip(source: Path) -> None:
    row = "1,Hi.,Ross,joy,x,0,0,8,21"
    table(source / "train", "train", row, row)
    found = inventory(source)
    assert len(found.clips) == 3
    assert "or two rows name it" in found.rejected[0].reason


# === Bytes of the tables ===


def test_stray_windows_bytes_are_mended_beside_utf8() -> None:
    assert decode(b"\xef\xbb\xbfIt\x92s") == "It’s"
    assert decode("company’s é".encode() + b" \x91odd\x92 caf\xe9") == "company’s é ‘odd’ café"
    assert decode("we\u0092re \u0085".encode()) == "we’re …"
    assert decode(b"a,b\r\nc\n") == "a,b\r\nc\n"


def test_stray_bytes_in_a_table(source: Path) -> None:
    path = table(source / "train", "train")
    path.write_bytes(path.read_bytes() + b'\n1,"It\x92s, well, caf\xe9",Ross,joy,x,0,0,8,21\r\n')
    (clip,) = [clip for clip in inventory(source).clips if clip.split == "train"]
    assert clip.transcript == "It’s, well, café"


# === The wrong thing given ===


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: table(f, "train", "1,Hi.,Ross,joy,x,0,0,8,21"), "tables of MELD but no clip"),
        (lambda f: touch(f, "train_splits/dia0_utt0.mp4"), "no table of MELD in it"),
        (lambda f: touch(f, "notes.txt"), "no table of MELD in it"),
    ],
)
def test_tables_or_clips_alone_are_one_line(make, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    make(folder)
    with pytest.raises(UserError, match=message) as caught:
        inventory(folder)
    assert str(caught.value).startswith(f"{folder}: ")
    assert "\n" not in str(caught.value)


def test_a_table_of_another_kind(source: Path) -> None:
    (source / "train/train_sent_emo.csv").write_text("text,label\nhi,joy\n")
    with pytest.raises(UserError, match=r"column Utterance, .* missing \(has text, label\)"):
        inventory(source)


@pytest.mark.real
@pytest.mark.parametrize(("part", "num_rows"), [("train", 9_989), ("dev", 1_109)])
def test_real_tables(part: str, num_rows: int, real_data: Path, tmp_path: Path) -> None:
    path = real_data / "text" / "meld" / f"{part}_sent_emo.csv"
    rows = [row for _, row in read_meld_table(path)]
    assert len(rows) == num_rows
    counts = Counter(row["Emotion"] for row in rows)
    assert counts["neutral"] == {"train": 4710, "dev": 470}[part]
    assert not any(0x80 <= ord(c) < 0xA0 or c == "\ufffd" for r in rows for c in r["Utterance"])
    source = tmp_path / "meld"
    source.mkdir()
    (source / path.name).write_bytes(path.read_bytes())
    names = (f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}.mp4" for row in rows)
    touch(source / FOLDERS[part], *names)
    found = inventory(source)
    assert len(found.clips) == num_rows
    assert not found.rejected
    assert not found.skipped


# === Clips that are longer than the table says ===


def timed(folder: Path, start: str, end: str, *durations_s: float) -> Path:
    """A train part of clips of some lengths, each said to last from `start` to `end`."""
    rows = [
        f'{n},"Oh, no!",Ross,joy,positive,0,{n},8,21,"{start}","{end}"'
        for n in range(len(durations_s))
    ]
    path = folder / "train_sent_emo.csv"
    folder.mkdir(parents=True)
    path.write_text("\n".join([f"{COLUMNS},StartTime,EndTime", *rows]), encoding="utf-8")
    for number, duration_s in enumerate(durations_s):
        clip = folder / f"train_splits/dia0_utt{number}.wav"
        write_sound(clip, tone(duration_s, 8_000, hz=200 + 50 * number), 8_000)
    return folder


def test_the_table_says_how_long_a_clip_is(tmp_path: Path) -> None:
    folder = timed(tmp_path / "in", "00:16:21,940", "00:16:23,442", 0.5)
    (clip,) = inventory(folder).clips
    assert clip.expected_duration_s == 1.502
    for times in (("", ""), ("00:00:05,000", "00:00:04,000"), ("x", "00:00:04,000")):
        row = dict(zip(("StartTime", "EndTime"), times, strict=True))
        assert utterance_duration_s(row) is None
    assert utterance_duration_s({}) is None


def test_a_clip_much_longer_than_its_row_is_rejected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Up to 5 s longer a clip of 1.5 s may be.
    folder = timed(tmp_path / "in", "00:16:21,940", "00:16:23,440", 1.5, 6.4, 6.7, 60.0)
    out = tmp_path / "out"
    assert preprocess("meld", folder, out, "--detector", "none") == EXIT_PARTIAL
    assert [row.path for row in open_data_folder(out).rows] == [
        f"train_splits/dia0_utt{number}.wav" for number in (0, 1)
    ]
    said = capsys.readouterr().err
    assert "dia0_utt3.wav: lasts 60.0 s but the table says 1.5 s, so label and words do" in said
    assert "dia0_utt2.wav: lasts 6.7 s but the table says 1.5 s" in said


def test_a_broken_video_gives_way_to_the_sound_of_the_utterance(tmp_path: Path) -> None:
    folder = timed(tmp_path / "in", "00:00:00,000", "00:00:01,000", 1.0)
    (folder / "train_splits/dia0_utt0.mp4").touch()
    out = tmp_path / "out"
    assert preprocess("meld", folder, out, "--detector", "none") == EXIT_PARTIAL
    assert [row.path for row in open_data_folder(out).rows] == ["train_splits/dia0_utt0.wav"]
