"""Anybody's own recordings by a CSV: what is taken, what is rejected, and what is said."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

import registry
from errors import EXIT_NOTHING_DONE, EXIT_OK, EXIT_SOME_REJECTED, UserError
from preprocessing.clip import Clip, Inventory
from preprocessing.data_folder import open_data_folder
from preprocessing.labels import CANONICAL
from tests.factories import preprocess, tone, write_sound


def inventory(folder: Path, text: str, encoding: str = "utf-8") -> Inventory:
    table = folder / "mine.csv"
    table.write_bytes(text.encode(encoding))
    return registry.load("corpora", "manifest").inventory(table)


def only(found: Inventory) -> Clip:
    (clip,) = found.clips
    assert not found.rejected
    return clip


# === What is taken ===


def test_all_columns(tmp_path: Path) -> None:
    header = "path,label,speaker,start_s,end_s,transcript,split,recording,age"
    clip = only(inventory(tmp_path, f'{header}\nx/a.wav, Joy ,ann,1.5,4,"Well, ""so""",test,r1,34'))
    assert clip.path == tmp_path / "x/a.wav"
    assert (clip.label, clip.speaker, clip.recording) == ("happy", "manifest/ann", "manifest/r1")
    assert (clip.start_s, clip.end_s, clip.split) == (1.5, 4.0, "test")
    assert clip.transcript == 'Well, "so"'
    assert clip.attributes == {"age": "34"}
    assert clip.key == "x/a.wav@1.5-4"


def test_only_the_required_columns(tmp_path: Path) -> None:
    clip = only(inventory(tmp_path, "speaker,path,label\n,a.wav,sad\n"))
    assert (clip.speaker, clip.recording) == ("", "manifest/a.wav")
    assert (clip.start_s, clip.end_s, clip.split, clip.transcript) == (0.0, None, "", "")


def test_byte_order_mark_spaces_and_windows_line_ends(tmp_path: Path) -> None:
    text = codecs.BOM_UTF8.decode() + "path , label,speaker\r\na.wav,sad,1\r\n"
    assert only(inventory(tmp_path, text)).name == "a.wav"


def test_quoted_line_break_in_a_transcript(tmp_path: Path) -> None:
    found = inventory(
        tmp_path, 'path,label,speaker,transcript\na.wav,sad,1,"two\nlines"\nb.wav,x,1,\n'
    )
    assert found.clips[0].transcript == "two\nlines"
    assert found.rejected[0].path == "mine.csv:4"


def test_a_folder_with_manifest_csv(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,label,speaker\na.wav,sad,1\n")
    assert len(registry.load("corpora", "manifest").inventory(tmp_path).clips) == 1


def test_stretches_of_one_file_are_clips_of_one_recording(tmp_path: Path) -> None:
    text = "path,label,speaker,start_s,end_s\n" + "\n".join(
        f"long.wav,sad,1,{start},{end}"
        for start, end in (("", 5), (5, 9), (9, ""), (7201.125, 7201.25), (7201.126, 7201.25))
    )
    found = inventory(tmp_path, text)
    assert len({clip.key for clip in found.clips}) == 5
    assert {clip.recording for clip in found.clips} == {"manifest/long.wav"}
    assert not found.rejected


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = [f"{name}.wav,sad,1" for name in "dbca"]
    header = "path,label,speaker"
    first = inventory(tmp_path, "\n".join([header, *rows]))
    assert inventory(tmp_path, "\n".join([header, *rows[::-1]])) == first


def test_a_row_without_path_is_a_text_alone(tmp_path: Path) -> None:
    found = inventory(
        tmp_path,
        "path,label,speaker,transcript,split,recording\n"
        ',joy,ann,"Well,\nyes 😊 да",train,r1\n'
        ",sad,,No.,test,\n"
        "a.wav,sad,,Sound.,,\n",
    )
    assert not found.rejected
    told = {clip.transcript: clip for clip in found.clips}
    first, second, sound = told["Well,\nyes 😊 да"], told["No."], told["Sound."]
    assert (first.text_only, second.text_only, sound.text_only) == (True, True, False)
    assert (first.path, first.name, first.inner) == (tmp_path / "mine.csv", "mine.csv", "3")
    assert (first.speaker, first.recording) == ("manifest/ann", "manifest/r1")
    assert (second.key, second.speaker) == ("mine.csv!4", "")
    assert (second.recording, second.split) == ("manifest/mine.csv:4", "test")
    assert len({clip.key for clip in found.clips}) == 3


def test_texts_twice_are_two_rows(tmp_path: Path) -> None:
    found = inventory(tmp_path, "path,label,speaker,transcript\n,sad,,No.\n,sad,,No.\n")
    assert [clip.inner for clip in found.clips] == ["2", "3"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",sad,1,,,", "empty path and no transcript; name a file"),
        (",sad,1,,,  ", "empty path and no transcript; name a file"),
        (",sad,1,1.5,,No.", "start_s and end_s without a path"),
        (",bored,1,,,No.", "unknown label 'bored'"),
    ],
)
def test_a_bad_text_alone(tmp_path: Path, row: str, reason: str) -> None:
    found = inventory(tmp_path, f"path,label,speaker,start_s,end_s,transcript\n{row}\n")
    (rejection,) = found.rejected
    assert rejection.path == "mine.csv:2"
    assert reason in rejection.reason


# === What is rejected, row by row ===


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.wav,bored,1,,,", "unknown label 'bored'; known: neutral, calm"),
        ("a.wav,,1,,,", "unknown label ''"),
        ("../a.wav,sad,1,,,", "leads out of the table's folder"),
        ("x/../../a.wav,sad,1,,,", "leads out of the table's folder"),
        (",sad,1,,,", "empty path"),
        ("a.wav,sad,1,soon,,", "'soon' is not a number of seconds"),
        ("a.wav,sad,1,-1,,", "'-1' must be 0 or more"),
        ("a.wav,sad,1,0,nan,", "'nan' must be 0 or more"),
        ("a.wav,sad,1,,,dev", "unknown split 'dev'; known: train, validation, test"),
        ("good.wav,sad,1,,,", "stand in the table twice"),
    ],
)
def test_a_bad_row_is_rejected_and_the_rest_goes_on(tmp_path: Path, row: str, reason: str) -> None:
    header = "path,label,speaker,start_s,end_s,split"
    found = inventory(tmp_path, f"{header}\ngood.wav,sad,1,,,\n{row}\nalso.wav,sad,2,,,\n")
    assert [clip.name for clip in found.clips] == ["also.wav", "good.wav"]
    (rejection,) = found.rejected
    assert rejection.path == "mine.csv:3"
    assert rejection.reason.startswith(row.split(",")[0] + ": ")
    assert reason in rejection.reason


def test_an_unknown_label_is_answered_with_all_known_ones(tmp_path: Path) -> None:
    reason = inventory(tmp_path, "path,label,speaker\na.wav,bored,1\n").rejected[0].reason
    assert ", ".join(CANONICAL) in reason


def test_an_absolute_path_is_meant(tmp_path: Path) -> None:
    clip = only(inventory(tmp_path, f"path,label,speaker\n{tmp_path.parent}/a.wav,sad,1\n"))
    assert clip.path == tmp_path.parent / "a.wav"


# === A table that is no table ===


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("path,speaker\na.wav,1\n", "utf-8", "column label missing .has path, speaker.; add it"),
        ("a.wav,sad,1\n", "utf-8", "column path, label, speaker missing"),
        ("", "utf-8", "column path, label, speaker missing .has none."),
        ("path,label,speaker\n", "utf-8", "no row under the header"),
        ("path,label,speaker\nä.wav,sad,1\n", "latin-1", "not UTF-8 text .byte 20 is 0xE4."),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, text: str, encoding: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        inventory(tmp_path, text, encoding)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.csv'}: ")


# === Through the command line ===


def prepare(table: Path, out: Path, *words: str) -> int:
    return preprocess("manifest", table, out, "--detector", "none", *words)


def test_stretches_bad_rows_and_a_missing_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sound(tmp_path / "long.wav", tone(6.0, hz=300), 16_000)
    table = tmp_path / "mine.csv"
    table.write_text(
        "path,label,speaker,start_s,end_s,transcript,split\n"
        "long.wav,sad,1,0.5,2.5,one,train\n"
        "long.wav,angry,1,4,,two,test\n"
        "gone.wav,sad,1,,,,train\n"
        "long.wav,sad,1,20,30,,train\n"
        "long.wav,bored,1,,,,train\n"
    )
    assert prepare(table, tmp_path / "out") == EXIT_SOME_REJECTED
    folder = open_data_folder(tmp_path / "out")
    told = {row.transcript: (row.label, row.num_samples, row.start_s) for row in folder.rows}
    assert told == {"one": ("sad", 32_000, 0.5), "two": ("angry", 32_000, 4.0)}
    rejected = (tmp_path / "out" / "rejected.csv").read_text().splitlines()
    assert len(rejected) == 4
    errors = capsys.readouterr().err
    assert "gone.wav: not found; check the path" in errors
    assert "from 20 to 6 s there is nothing (the file lasts 6.0 s); correct start_s" in errors
    assert "unknown label 'bored'" in errors
    assert prepare(table, tmp_path / "strict", "--strict") == EXIT_NOTHING_DONE


def test_a_split_of_ones_own(tmp_path: Path) -> None:
    rows = []
    for number, split in enumerate(["train"] * 3 + ["validation", "test", "test"]):
        write_sound(tmp_path / f"{number}.wav", tone(1.0, hz=200 + 50 * number), 16_000)
        rows.append(f"{number}.wav,sad,{number},{split}")
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(["path,label,speaker,split", *rows]))
    assert prepare(table, tmp_path / "out") == EXIT_OK
    parts = open_data_folder(tmp_path / "out").splits.parts
    assert {split: len(ids) for split, ids in parts.items()} == {
        "train": 3,
        "validation": 1,
        "test": 2,
    }
    assert parts["test"] == ("manifest/4.wav", "manifest/5.wav")


def test_a_missing_column_through_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("path,label\na.wav,sad\n")
    assert prepare(table, tmp_path / "out") == EXIT_NOTHING_DONE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"Error: {table}: column speaker missing (has path, label); add it\n"
    assert not (tmp_path / "out").exists()


def test_a_very_long_text_is_read(tmp_path: Path) -> None:
    said = "so " * 60_000
    table = tmp_path / "manifest.csv"
    table.write_text(f"path,label,speaker,transcript\n,sad,1,{said}\n")
    (clip,) = registry.load("corpora", "manifest").inventory(tmp_path).clips
    assert clip.text_only
    assert clip.transcript == said.strip()
