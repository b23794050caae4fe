"""`preprocess --stop-after STEP`: the steps in order, each skipped when nothing has changed."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from affectstream import cli
from affectstream.commands.jobs.prep_steps import PreparationSteps
from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL, EXIT_USAGE
from affectstream.preprocessing.corpora.iemocap import IEMOCAP
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.dataset.feature_table import open_feature_table
from tests.support.factories import files_below, preprocess
from tests.support.iemocap_release import evaluation_file, wav_file, write_release

EMOTIONS = ("ang", "sad")
NUM_CLIPS = 3 * 2 * 2


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(source: Path, out: Path, until: str, *words: str) -> int:
    return preprocess("iemocap", source, out, "--detector", "none", "--stop-after", until, *words)


def skipped(text: str) -> list[str]:
    return [line.partition(":")[0] for line in text.splitlines() if ": skipped," in line]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release", 3, EMOTIONS, ("F_impro01",))


def test_labels_need_no_recording(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in source.rglob("*.wav"):
        path.write_bytes(b"no sound at all")
    out = tmp_path / "out"
    assert run(source, out, "labels") == EXIT_OK
    assert sorted(files_below(out)) == ["labels.csv", "steps.json"]
    rows = table(out / "labels.csv")
    assert len(rows) == NUM_CLIPS
    assert rows[1] == {
        "turn": "Ses01F_impro01_F001",
        "start_s": "1.5",
        "end_s": "2",
        "wav": "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F001.wav",
        "label": "sad",
        "speaker": "iemocap/Ses01F",
        "session": "1",
        "valence": "2.5",
        "arousal": "3",
        "dominance": "3.5",
    }
    capsys.readouterr()
    assert run(source, out, "labels") == EXIT_OK
    assert skipped(capsys.readouterr().err) == ["labels"]


def test_labels_tell_what_is_malformed(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(evaluation_file(source, "Ses02F_impro01"), "a", encoding="utf-8") as file:
        file.write("[9.0 - 8.0]\tSes02F_impro01_F009\tneu\t[2, 2, 2]\n")
    assert run(source, tmp_path / "out", "labels") == EXIT_PARTIAL
    assert "Ses02F_impro01.txt:34: Ses02F_impro01_F009: from 9.0 to" in capsys.readouterr().err


def test_all_steps_one_by_one_and_skipped_the_second_time(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    assert len(open_data_folder(out).rows) == NUM_CLIPS
    assert not (out / "features.csv").exists()
    capsys.readouterr()

    assert run(source, out, "transcripts") == EXIT_OK
    assert skipped(capsys.readouterr().err) == ["labels", "audio"]
    folder = open_data_folder(out)
    assert folder.splits.rule == {"kind": "default"}
    sessions = {
        split: {row.attributes["session"] for row in folder.subset(split)}
        for split in ("train", "validation", "test")
    }
    assert sessions == {"train": {"1"}, "validation": {"2"}, "test": {"3"}}
    features = table(out / "features.csv")
    assert len(features) == NUM_CLIPS
    assert len(features[0]) == 5 + 276
    split_of = {id: split for split, ids in folder.splits.parts.items() for id in ids}
    assert {row["clip"]: row["split"] for row in features} == split_of
    assert open_feature_table(out / "features.csv", 16_000).splits.rule == folder.splits.rule
    words = table(out / "transcripts.csv")
    assert words[0] == {
        "clip": "iemocap/Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav",
        "speaker": "iemocap/Ses01F",
        "recording": "iemocap/Ses01F_impro01_F000",
        "label": "angry",
        "split": "train",
        "transcript": "This is Ses01F_impro01_F000.",
    }

    before = files_below(out)
    assert run(source, out, "transcripts") == EXIT_OK
    captured = capsys.readouterr()
    assert skipped(captured.err) == ["labels", "audio", "features", "split", "transcripts"]
    assert captured.out == ""
    assert files_below(out) == before

    (out / "labels.csv").unlink()
    (out / "transcripts.csv").unlink()
    assert run(source, out, "transcripts") == EXIT_OK
    assert skipped(capsys.readouterr().err) == ["audio", "features", "split"]
    assert files_below(out) == before


def test_a_changed_recording_or_a_lost_shard_is_prepared_again(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    before = {path: data for path, data in files_below(out).items() if path.startswith("shards/")}
    os.utime(wav_file(source, "Ses01F_impro01_F000"), ns=(0, 0))
    capsys.readouterr()
    assert run(source, out, "audio") == EXIT_OK
    assert skipped(capsys.readouterr().err) == ["labels"]
    (out / "shards/00000.tfrecord").unlink()
    assert run(source, out, "audio") == EXIT_OK
    assert skipped(capsys.readouterr().err) == ["labels"]
    after = files_below(out)
    assert after["shards/00000.tfrecord"] == before["shards/00000.tfrecord"]
    assert run(source, out, "audio", "--max-clip-s", "0.6", "--overwrite") == EXIT_OK
    assert skipped(capsys.readouterr().err) == []


@pytest.mark.parametrize(
    ("until", "words", "differing"),
    [
        ("labels", ["--improvised-only"], "corpus_options: None there, "),
        ("transcripts", ["--improvised-only"], "corpus_options: None there, "),
        ("audio", ["--max-clip-s", "0.6"], "preparation.max_clip_s: 10.0 there, 0.6 now"),
        ("audio", ["--sample-rate", "8000"], "sample_rate_hz: 16000 there, 8000 now"),
    ],
)
def test_a_folder_that_was_prepared_otherwise_stays_as_it_is(
    until: str,
    words: list[str],
    differing: str,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    evaluation_file(source, "Ses03F_impro01").unlink()  # labels.csv would have fewer rows
    before = files_below(out)
    capsys.readouterr()
    assert run(source, out, until, *words) == EXIT_FAILURE
    said = capsys.readouterr().err
    assert f"{out}: prepared otherwise (" in said and differing in said
    assert files_below(out) == before


def test_labels_alone_may_be_told_anew_whatever_the_records_were_made_with(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio", "--max-clip-s", "0.6") == EXIT_OK
    evaluation_file(source, "Ses03F_impro01").unlink()
    assert run(source, out, "labels") == EXIT_OK
    assert len(table(out / "labels.csv")) == NUM_CLIPS * 2 // 3


def test_overwriting_begins_anew_with_other_labels(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    words = ("--max-clip-s", "0.6", "--overwrite")
    assert run(source, out, "audio", *words) == EXIT_OK
    assert open_data_folder(out).settings["preparation"]["max_clip_s"] == 0.6


def test_a_split_that_the_user_chose_is_kept(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    chosen = ["--test-speakers", "Ses03F", "--val-speakers", "Ses03M"]
    assert cli.main(["split", "--data", str(out), *chosen]) == EXIT_OK
    before = (out / "splits.json").read_bytes()
    steps = atomic_io.read_json(out / "steps.json")
    # Features take long; what they need is there already.
    PreparationSteps(IEMOCAP, source, out, False)._split()
    assert (out / "splits.json").read_bytes() == before
    assert set(atomic_io.read_json(out / "steps.json")) == {*steps, "split"}
    capsys.readouterr()


def test_two_sessions_are_split_by_speaker_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_release(tmp_path / "release", 2, EMOTIONS, ("F_impro01",))
    out = tmp_path / "out"
    assert run(source, out, "audio") == EXIT_OK
    PreparationSteps(IEMOCAP, source, out, False)._split()
    assert "split: by speaker, sessions are too few (1, 2)" in capsys.readouterr().err
    assert open_data_folder(out).splits.rule == {"kind": "default"}


def test_an_unknown_step(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(source, tmp_path / "out", "fame") == EXIT_USAGE
    assert "'labels', 'audio', 'features', 'split', 'transcripts'" in capsys.readouterr().err
