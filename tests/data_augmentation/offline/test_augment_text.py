"""`augment` with texts: other words without voice and face, for training only."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from affectstream.cli import main
from affectstream.core import atomic_io, registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.offline import back_translation
from affectstream.data_augmentation.offline.augment import AugmentSettings, augment
from affectstream.data_augmentation.offline.text_augmenter import reworded
from affectstream.data_augmentation.offline.translators.translator import TranslatorUnavailableError
from affectstream.data_augmentation.text.word_tokens import normalize_text
from affectstream.preprocessing.content_hash import TEXT_HASH
from affectstream.preprocessing.corpora.text_table import text_hash
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.dataset.splits import make_splits
from affectstream.preprocessing.labels import BASIC7
from affectstream.preprocessing.records.record import Record, ShardWriter, read_records
from tests.support import fake_google, models
from tests.support.fake_google import FakeGoogle

pytestmark = pytest.mark.slow

LABELS = BASIC7.labels[:3]
SPEAKERS = ("1", "2", "3", "4")
RULE = {"kind": "speakers", "test": ["toy/4"], "validation": ["toy/3"]}
NUM_TRAIN = 6
CHEAP = AugmentSettings("word_dropout,word_swap,typo", copies=2, seed=5)
PARAPHRASED = AugmentSettings("", back_translate="google", pivots="fr,de")


def told(speaker: str, label: str, streams: Sequence[str], is_content: bool) -> Record:
    """A record of speaker and label; a text that is content of its own has a hash."""
    text = f"number {speaker} says that today feels {label}, as it often does!"
    made = models.record(speaker, label, streams=streams)
    attributes = {TEXT_HASH: text_hash(text)} if is_content else {}
    return replace(made, transcript=text, attributes=attributes)


def write_folder(
    path: Path,
    streams: Sequence[str] = (),
    is_content: bool = True,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> DataFolder:
    """4 speakers x 3 labels, a shard for each two speakers; `texts`: "happy_1" -> its words."""
    rows = []
    (path / data_folder.SHARDS_FOLDER).mkdir(parents=True)
    for number, pair in enumerate((SPEAKERS[:2], SPEAKERS[2:])):
        shard = f"{number:05d}.tfrecord"
        with ShardWriter(path / data_folder.SHARDS_FOLDER / shard) as writer:
            for speaker in pair:
                for label in LABELS:
                    one = told(speaker, label, streams, is_content)
                    one = replace(one, transcript=texts.get(f"{label}_{speaker}", one.transcript))
                    writer.write(one)
                    row = models.clip_row_of(one, shard)
                    rows.append(replace(row, transcript=one.transcript, attributes=one.attributes))
    rows.sort(key=lambda row: row.id)
    data_folder.write_rows(path, rows)
    data_folder.write_splits(path, make_splits(rows, RULE))
    settings: dict[str, Any] = {"corpus": "toy", "synthetic": True, "sample_rate_hz": 16_000}
    atomic_io.write_checksummed_json(
        path / data_folder.SETTINGS_FILE, {**settings, "preparation": {}}
    )
    return open_data_folder(path)


def records_of(folder: DataFolder) -> dict[str, Record]:
    rows = {row.id: row for row in folder.rows}
    return {r.id: r for path in folder.shard_paths(folder.rows) for r in read_records(path, rows)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    """Texts alone."""
    return write_folder(tmp_path_factory.mktemp("source") / "records")


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGoogle]:
    with fake_google.serving() as google:
        yield google


@pytest.fixture
def google(server: FakeGoogle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGoogle:
    """What the registry's `google` asks, with an empty cache."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.asked.clear()
    server.answer = FakeGoogle.answer
    monkeypatch.setattr(back_translation, "translations_folder", lambda: tmp_path / "cache")
    real = registry.load

    def load(kind: str, name: str) -> Any:
        return server.translator if kind == "translators" and name == "google" else real(kind, name)

    monkeypatch.setattr(registry, "load", load)
    return server


# === What is in it ===


def test_cheap_copies_of_texts_alone(source: DataFolder, tmp_path: Path) -> None:
    result = augment(source, tmp_path / "out", CHEAP)
    assert (result.num_source_clips, result.num_copies) == (NUM_TRAIN, 2 * NUM_TRAIN)
    assert (result.num_unchanged, result.num_rejected_translations) == (0, 0)
    folder = open_data_folder(tmp_path / "out")
    found = records_of(folder)
    rows = {row.id: row for row in folder.rows}
    copies = [row for row in folder.rows if row.copy_of]
    assert {row.id.rpartition("+")[2] for row in copies} == {"text1", "text2"}
    for row in copies:
        original, record = rows[row.copy_of], found[row.id]
        assert row.transcript == record.transcript != original.transcript
        assert (row.label, row.speaker, row.recording) == (
            original.label,
            original.speaker,
            original.recording,
        )
        assert row.text_hash == text_hash(row.transcript) != original.text_hash
        assert row.streams == ("text",)
        assert set(row.attributes["reworded_by"].split("+")) <= {
            "word_dropout",
            "word_swap",
            "typo",
        }
    assert len({row.transcript for row in folder.rows}) == len(folder.rows)


def test_copies_of_text_stand_in_training_only(source: DataFolder, tmp_path: Path) -> None:
    augment(source, tmp_path / "out", CHEAP)
    folder = open_data_folder(tmp_path / "out")
    parts = {split: {row.id for row in folder.subset(split)} for split in folder.splits.parts}
    copies = {row.id: row.copy_of for row in folder.rows if row.copy_of}
    assert set(copies) <= parts["train"]
    assert set(copies.values()) == {row.id for row in source.subset("train")}
    for split in ("validation", "test"):
        assert parts[split] == {row.id for row in source.subset(split)}
        assert overlaps(DataFootprint.of(folder.subset("train")), folder.subset(split)) == []


def test_another_text_goes_without_voice_and_face(google: FakeGoogle, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", models.BOTH, is_content=False)
    settings = AugmentSettings(
        "gain:probability=1,flip,word_swap", 1, back_translate="google", pivots="fr"
    )
    result = augment(source, tmp_path / "out", settings)
    assert result.num_copies == 3 * NUM_TRAIN
    folder = open_data_folder(tmp_path / "out")
    rows, found = {row.id: row for row in folder.rows}, records_of(folder)
    for original in source.subset("train"):
        heard, swapped, back = (
            found[f"{original.id}+{end}"] for end in ("copy1", "text1", "back-fr")
        )
        assert heard.transcript == original.transcript
        assert len(heard.waveform) == original.num_samples
        assert rows[heard.id].streams == ("audio", "video", "text")
        assert back.transcript == f"{original.transcript} via fr"
        assert sorted(normalize_text(swapped.transcript)) == sorted(
            normalize_text(original.transcript)
        )
        for record in (swapped, back):
            row = rows[record.id]
            assert record.waveform.size == record.faces.size == record.face_mask.size == 0
            assert record.boxes_px.shape == (0, 4)
            assert (row.num_samples, row.num_frames, row.num_faces) == (0, 0, 0)
            assert row.audio_hash == row.video_hash == record.audio_hash == row.text_hash == ""
            assert row.streams == ("text",)


def test_no_copy_is_a_held_out_text(tmp_path: Path) -> None:
    """Of the two texts that leaving out a word can give, one stands in validation."""
    label = LABELS[0]
    texts = {f"{label}_1": "happy sad", f"{label}_3": "Happy!", f"{label}_4": "never mind"}
    source = write_folder(tmp_path / "in", texts=texts)
    made = augment(source, tmp_path / "out", AugmentSettings("word_dropout", copies=3))
    folder = open_data_folder(tmp_path / "out")
    copies = [row for row in folder.rows if row.copy_of == f"toy/1-{label}-0"]
    assert [row.transcript for row in copies] == ["sad"]
    assert made.num_unchanged == 2


def test_texts_that_cannot_change_have_no_copy(tmp_path: Path) -> None:
    label = LABELS[0]
    texts = {f"{label}_1": "hm", f"{label}_2": "  "}
    source = write_folder(tmp_path / "in", texts=texts)
    made = augment(source, tmp_path / "out", AugmentSettings("word_swap", copies=1))
    assert made.num_copies == NUM_TRAIN - 2
    assert made.num_unchanged == 1, "a text without a word is not asked for"


def test_examples_show_the_words(google: FakeGoogle, source: DataFolder, tmp_path: Path) -> None:
    settings = replace(PARAPHRASED, transforms="typo", copies=1)
    augment(source, tmp_path / "out", settings, num_examples=1)
    folder = tmp_path / "out" / "examples"
    (words,) = folder.glob("*-words.txt")
    lines = words.read_text("utf-8").splitlines()
    assert [line.split(":")[0] for line in lines] == ["before", "typo", "google fr", "google de"]
    assert lines[2].endswith("does! via fr")
    assert lines[0].removeprefix("before: ") in {row.transcript for row in source.rows}
    (applied,) = json.loads((folder / "applied.json").read_text()).values()
    assert set(applied["texts"].values()) == {"google de", "google fr", "typo"}
    assert len(list(folder.iterdir())) == 2


def test_a_copy_beside_action_units_has_none_either() -> None:
    units = np.ones((4, 35), np.float32)
    one = replace(models.record("1", LABELS[0]), faces=units, face_mask=np.ones(4, bool))
    copy = reworded(one, "copy", "other words", "typo")
    assert copy.faces.shape == (0, 0), "as `parse_example` expects of action units"
    assert copy.faces.dtype == np.float32
    assert copy.attributes == {"copy_of": one.id, "reworded_by": "typo"}


# === Interruption and refusals ===


def test_a_translator_that_fails_leaves_nothing_half_written(
    google: FakeGoogle, source: DataFolder, tmp_path: Path
) -> None:
    def tires(text: str, source: str, target: str) -> fake_google.Answer:
        return (429, "", {}) if len(google.asked) > 10 else FakeGoogle.answer(text, source, target)

    out = tmp_path / "out"
    google.answer = tires
    with pytest.raises(TranslatorUnavailableError, match="answered 429, 4 times"):
        augment(source, out, PARAPHRASED)
    assert not data_folder.is_data_folder(out)
    assert [path for path in out.rglob("*") if "-copies" in path.name or ".part" in path.name] == []
    google.asked.clear()
    google.answer = FakeGoogle.answer
    result = augment(source, out, PARAPHRASED)
    assert result.num_copies == 2 * NUM_TRAIN
    assert len(google.asked) == 4 * NUM_TRAIN - 10, "nothing is asked twice"
    undisturbed = tmp_path / "undisturbed"
    augment(source, undisturbed, PARAPHRASED)
    assert (out / "clips.csv").read_bytes() == (undisturbed / "clips.csv").read_bytes()
    google.asked.clear()
    assert augment(source, out, PARAPHRASED).num_new_copies == 0
    assert google.asked == []


def test_the_command_and_its_exit_codes(
    google: FakeGoogle, source: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["augment", "--data", str(source.path), "--back-translate", "google"]

    def run(name: str, *more: str) -> int:
        return main([*words, "--out", str(tmp_path / name), *more])

    assert run("good", "--pivots", "fr, de") == 0
    assert f"{2 * NUM_TRAIN} copies of {NUM_TRAIN} training clips" in capsys.readouterr().out
    stored = json.loads((tmp_path / "good" / "preprocess.json").read_text())
    assert (stored["back_translate"], stored["transforms"]) == ("google", "")

    google.answer = lambda text, source, target: (
        (413, "", {}) if text.startswith("number 2") else FakeGoogle.answer(text, source, target)
    )
    for _ in range(2):  # the second time nothing is asked, and the same is said
        assert run("some", "--pivots", "es") == 3
        said = capsys.readouterr()
        assert "warning: 3 paraphrases were refused" in said.err
        with open(tmp_path / "some" / "untranslated.csv", newline="") as file:
            refused = list(csv.DictReader(file))
        assert [row["id"] for row in refused] == [f"toy/2-{label}-0" for label in LABELS]
        assert refused[0]["pivot"] == "es"
        assert "answered 413" in refused[0]["reason"]
    assert len(open_data_folder(tmp_path / "some").subset("train")) == 2 * NUM_TRAIN - 3

    google.answer = lambda *_: (403, "", {})
    assert run("none", "--pivots", "it") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("Error: translator google: refuses requests from here")
    assert run("wrong", "--pivots", "tlh") == 1
    assert "no language 'tlh'" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()


def test_words_that_do_not_fit_together(
    source: DataFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["augment", "--data", str(source.path), "--out", str(tmp_path / "out")]
    assert main([*words, "--pivots", "fr"]) == 2
    assert "need --back-translate" in capsys.readouterr().err
    assert main(words) == 1
    assert "which no training clip has; choose other --transforms" in capsys.readouterr().err
    assert main([*words, "--back-translate", "babelfish"]) == 1
    assert "no translators named 'babelfish'; known: google" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_text_transforms_leave_a_mute_corpus_alone(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", ("audio",))
    silent = replace(source, rows=tuple(replace(row, transcript="") for row in source.rows))
    with pytest.raises(UserError, match="the transforms change text, which no training clip has"):
        augment(silent, tmp_path / "out", CHEAP)
    both = augment(source, tmp_path / "both", AugmentSettings("gain,typo", copies=1))
    assert both.num_copies == 2 * NUM_TRAIN
    folder = open_data_folder(tmp_path / "both")
    sounds = [row for row in folder.rows if row.id.endswith("+copy1")]
    assert {row.text_hash for row in sounds} == {row.text_hash for row in source.subset("train")}
    assert all(np.isfinite(row.end_s) for row in sounds)
