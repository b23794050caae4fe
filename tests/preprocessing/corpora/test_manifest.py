"""Anybody's own recordings by a CSV: what is taken, what is rejected, and what is said."""

from __future__ import annotations

import codecs
import re
import shutil
from pathlib import Path

import pytest

from affectstream.core import registry
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
    UserError,
)
from affectstream.preprocessing.clip import Clip, CorpusIndex
from affectstream.preprocessing.corpora.manifest import MANIFEST
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.dataset.leakage import (
    DataFootprint,
    overlaps,
    shared_speaker_id_notes,
)
from affectstream.preprocessing.labels import CANONICAL_LABELS
from tests.support.factories import files_below, preprocess, tone, write_sound


def inventory(folder: Path, text: str, encoding: str = "utf-8") -> CorpusIndex:
    table = folder / "mine.csv"
    table.write_bytes(text.encode(encoding))
    return registry.load("corpora", "manifest").build_index(table)


def only(found: CorpusIndex) -> Clip:
    (clip,) = found.clips
    assert not found.rejected
    return clip


# === What is taken ===


def test_a_row_with_all_columns_becomes_a_clip(tmp_path: Path) -> None:
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
    assert len(registry.load("corpora", "manifest").build_index(tmp_path).clips) == 1


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
        ("good.wav,sad,1,,,", "occur twice"),
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
    assert ", ".join(CANONICAL_LABELS) in reason


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
    assert prepare(table, tmp_path / "out") == EXIT_PARTIAL
    folder = open_data_folder(tmp_path / "out")
    told = {row.transcript: (row.label, row.num_samples, row.start_s) for row in folder.rows}
    assert told == {"one": ("sad", 32_000, 0.5), "two": ("angry", 32_000, 4.0)}
    rejected = (tmp_path / "out" / "rejected.csv").read_text().splitlines()
    assert len(rejected) == 4
    errors = capsys.readouterr().err
    assert "gone.wav: not found; check the path" in errors
    assert "from 20 to 6 s there is nothing (the file lasts 6.0 s); correct start_s" in errors
    assert "unknown label 'bored'" in errors
    assert prepare(table, tmp_path / "strict", "--strict") == EXIT_FAILURE


TABLE = "path,label,speaker\na.wav,sad,01\nb.wav,happy,02\nc.wav,angry,03\n"


@pytest.fixture
def others(tmp_path: Path) -> tuple[Path, Path]:
    """Two tables of the same text in different folders, over different recordings."""
    tables = []
    for place, start_hz in (("one", 200), ("two", 500)):
        for number, name in enumerate("abc"):
            sound = tone(1.0, hz=start_hz + 50 * number)
            write_sound(tmp_path / place / f"{name}.wav", sound, 16_000)
        tables.append(tmp_path / place / "mine.csv")
        tables[-1].write_text(TABLE)
    return tables[0], tables[1]


def prepared(table: Path, out: Path, *words: str) -> DataFolder:
    assert prepare(table, out, *words) == EXIT_OK
    return open_data_folder(out)


def test_people_of_different_manifests_are_different_people(
    others: tuple[Path, Path], tmp_path: Path
) -> None:
    one, two = (prepared(t, tmp_path / f"data-{t.parent.name}") for t in others)
    names = [folder.settings["corpus"] for folder in (one, two)]
    assert len({*names}) == 2 and all(re.fullmatch("manifest-[0-9a-f]{8}", n) for n in names)
    for name, folder in zip(names, (one, two), strict=True):
        assert [row.id for row in folder.rows] == [f"{name}/{n}.wav" for n in "abc"]
        assert [row.recording for row in folder.rows] == [f"{name}/{n}.wav" for n in "abc"]
        assert [row.speaker for row in folder.rows] == [f"{name}/0{n}" for n in "123"]
        assert {row.corpus for row in folder.rows} == {name}
    assert overlaps(DataFootprint.of(one.rows), two.rows) == []
    assert shared_speaker_id_notes(row.speaker for row in (*one.rows, *two.rows)) == (
        f"speaker 01, 02, 03 of {' and of '.join(sorted(names))} are taken for different people;"
        " if they are the same, prepare one of these with --same-speakers-as",
    )
    assert shared_speaker_id_notes(row.speaker for row in one.rows) == ()


def test_the_same_manifest_elsewhere_is_the_same(others: tuple[Path, Path], tmp_path: Path) -> None:
    """Other order of rows, other line ends, another folder: the same people and recordings."""
    one = prepared(others[0], tmp_path / "first")
    shutil.copytree(others[0].parent, tmp_path / "copy")
    header, *rows = TABLE.splitlines()
    (tmp_path / "copy" / "mine.csv").write_text("\r\n".join([header, *rows[::-1], ""]))
    again = prepared(tmp_path / "copy" / "mine.csv", tmp_path / "second")
    assert again.settings["corpus"] == one.settings["corpus"]
    found = overlaps(DataFootprint.of(one.rows), again.rows)
    assert [what.partition(" ")[0] for what in found] == ["speaker", "recording", "the"]


def test_a_name_of_ones_own_and_the_same_people(
    others: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = prepared(others[0], tmp_path / "one-data", "--name", "spring")
    joined = ("--name", "autumn", "--same-speakers-as", str(one.path))
    two = prepared(others[1], tmp_path / "two-data", *joined)
    assert [row.speaker for row in two.rows] == [f"manifest-spring/0{n}" for n in "123"]
    assert [row.id for row in two.rows] == [f"manifest-autumn/{n}.wav" for n in "abc"]
    assert overlaps(DataFootprint.of(one.rows), two.rows) == [
        "speaker manifest-spring/01, manifest-spring/02, manifest-spring/03"
    ]
    assert shared_speaker_id_notes(row.speaker for row in (*one.rows, *two.rows)) == ()
    # Whose people these are is handed on, and goes on being so.
    third = prepared(others[1], tmp_path / "third", "--same-speakers-as", str(two.path))
    assert third.rows[0].speaker == "manifest-spring/01"
    before = files_below(two.path)
    assert prepared(others[1], two.path).rows == two.rows
    assert files_below(two.path) == before
    capsys.readouterr()
    assert prepare(others[1], two.path, "--name", "winter") == EXIT_FAILURE
    line = capsys.readouterr().err
    assert "prepared otherwise (" in line
    assert "corpus: manifest-autumn there, manifest-winter now" in line


def test_a_table_that_grows_keeps_its_name(others: tuple[Path, Path], tmp_path: Path) -> None:
    before = prepared(others[0], tmp_path / "out")
    write_sound(others[0].parent / "d.wav", tone(1.0, hz=900), 16_000)
    others[0].write_text(TABLE + "d.wav,sad,01\n")
    after = prepared(others[0], tmp_path / "out")
    assert after.settings["corpus"] == before.settings["corpus"]
    assert after.rows[:3] == before.rows and len(after.rows) == 4
    anew = prepared(others[0], tmp_path / "out", "--overwrite")
    assert anew.settings["corpus"] != before.settings["corpus"]


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".x", "ä", "x" * 65, "a b"])
def test_names_that_cannot_be(
    name: str, others: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(others[0], tmp_path / "out", "--name", name) == EXIT_FAILURE
    assert f"--name {name!r}: give 1 to 64 letters" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_manifests_have_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--name", "mine")
    assert preprocess("ravdess", tmp_path, tmp_path / "out", *words) == EXIT_USAGE
    assert "--name and --same-speakers-as are for --corpus manifest" in capsys.readouterr().err
    table = tmp_path / "mine.csv"
    table.write_text(TABLE)
    gone = ("--same-speakers-as", str(tmp_path / "gone"))
    assert prepare(table, tmp_path / "out", *gone) == EXIT_FAILURE
    assert "gone: not a prepared corpus" in capsys.readouterr().err


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
    name = open_data_folder(tmp_path / "out").settings["corpus"]
    assert parts["test"] == (f"{name}/4.wav", f"{name}/5.wav")


def test_a_missing_column_through_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("path,label\na.wav,sad\n")
    assert prepare(table, tmp_path / "out") == EXIT_FAILURE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"Error: {table}: column speaker missing (has path, label); add it\n"
    assert not (tmp_path / "out").exists()


def test_a_very_long_text_is_read(tmp_path: Path) -> None:
    said = "so " * 60_000
    table = tmp_path / "manifest.csv"
    table.write_text(f"path,label,speaker,transcript\n,sad,1,{said}\n")
    (clip,) = registry.load("corpora", "manifest").build_index(tmp_path).clips
    assert clip.text_only
    assert clip.transcript == said.strip()


# === What a table says otherwise than meant ===


def test_an_end_behind_the_end_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sound(tmp_path / "a.wav", tone(6.0, hz=300), 16_000)
    table = tmp_path / "mine.csv"
    rows = ("a.wav,sad,1,0,8", "a.wav,sad,1,1,6.4", "a.wav,sad,1,2,6")
    table.write_text("\n".join(["path,label,speaker,start_s,end_s", *rows]))
    assert prepare(table, tmp_path / "out") == EXIT_PARTIAL
    assert [row.start_s for row in open_data_folder(tmp_path / "out").rows] == [1.0, 2.0]
    line = "a.wav: end_s 8 lies 2.0 s behind the end of the file (6.0 s); correct it"
    assert line in capsys.readouterr().err


def test_backslashes_in_paths(tmp_path: Path) -> None:
    write_sound(tmp_path / "a/b.wav", tone(0.5), 16_000)
    write_sound(tmp_path / "c\\d.wav", tone(0.6), 16_000)
    table = tmp_path / "mine.csv"
    table.write_text("path,label,speaker\na\\b.wav,sad,1\nc\\d.wav,sad,1\n")
    clips = {clip.name: clip.path for clip in MANIFEST.build_index(table).clips}
    assert clips == {"a/b.wav": tmp_path / "a/b.wav", "c\\d.wav": tmp_path / "c\\d.wav"}


@pytest.mark.parametrize(
    "text",
    [
        "path;label;speaker;transcript\na.wav;sad;1;well, then\n",
        "path\tlabel\tspeaker\ttranscript\na.wav\tsad\t1\twell, then\n",
        "sep=;\r\npath;label;speaker;transcript\r\na.wav;sad;1;well, then\r\n",
        '\ufeffpath;label;speaker;transcript\r"a.wav";sad;1;"well, then"\r',
    ],
)
def test_semicolons_and_tabs_part_cells_too(text: str, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_bytes(text.encode())
    (clip,) = MANIFEST.build_index(table).clips
    assert (clip.name, clip.label, clip.transcript) == ("a.wav", "sad", "well, then")


def test_a_decimal_comma_is_hinted_at(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("path;label;speaker;start_s\na.wav;sad;1;1,5\n")
    (rejection,) = MANIFEST.build_index(table).rejected
    assert rejection.reason == "a.wav: time '1,5' is not a number of seconds; write 1.5"


def test_people_that_nobody_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for number, speaker in enumerate(("a", "b", "c", "")):
        write_sound(tmp_path / f"{number}.wav", tone(0.5, hz=200 + 50 * number), 16_000)
        rows.append(f"{number}.wav,sad,{speaker}")
    table = tmp_path / "mine.csv"
    table.write_text("\n".join(["path,label,speaker", *rows]))
    assert prepare(table, tmp_path / "out") == EXIT_OK
    line = "  note: speaker unknown: 1 of 4 records; the same person may be in training and in test"
    assert line in capsys.readouterr().out.splitlines()


def test_a_transcript_of_a_clip_that_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sound(tmp_path / "a.wav", tone(5.0), 16_000)
    table = tmp_path / "mine.csv"
    table.write_text("path,label,speaker,transcript\na.wav,sad,1,well\n")
    assert prepare(table, tmp_path / "out", "--max-clip-s", "2") == EXIT_OK
    assert (
        "  note: longer than --max-clip-s: 1 clip with a transcript, cut into 3 records that each"
        " hold all of it; raise --max-clip-s"
    ) in capsys.readouterr().out
