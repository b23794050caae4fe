"""Prepares a corpus step by step; skips each step whose inputs have not changed.

Source: IEMOCAP fused-features system, docs/reproduced_systems.md.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affectstream.core import atomic_io, progress
from affectstream.core.errors import UserError, pluralize

if TYPE_CHECKING:  # importing OpenCV and numpy would slow down `--help`
    from affectstream.preprocessing.clip import Clip
    from affectstream.preprocessing.corpora.corpus import Corpus
    from affectstream.preprocessing.dataset.data_folder import DataFolder
    from affectstream.preprocessing.records.preprocess import PreprocessResult

STEPS = ("labels", "audio", "features", "split", "transcripts")
LABELS = "labels.csv"
FEATURES = "features.csv"
TRANSCRIPTS = "transcripts.csv"
# Finished steps: step -> digest of its inputs.
STEPS_FILE = "steps.json"
LABEL_COLUMNS = (
    *("turn", "start_s", "end_s", "wav", "label", "speaker", "session"),
    *("valence", "arousal", "dominance"),
)
FEATURES_NAME = "clip_statistics"


class PreparationSteps:
    """The steps of one data folder.

    Args:
      corpus: a corpus of the registry.
      source: location of the corpus.
      out: data folder, which also gets labels.csv, features.csv, transcripts.csv and steps.json.
      overwrite: repeat every step.
    Raises:
      UserError: `source` does not fit the corpus.
    """

    def __init__(self, corpus: Corpus, source: Path, out: Path, overwrite: bool) -> None:
        self.out = out
        self.overwrite = overwrite
        self.corpus_index = corpus.build_index(source)
        if overwrite:
            (out / STEPS_FILE).unlink(missing_ok=True)

    def write_labels(self, settings: dict[str, Any]) -> None:
        """Writes labels.csv; opens no recording.

        Args:
          settings: `folder_settings` of this call, up to the last requested step.
        Raises:
          UserError: the folder holds records with other settings; then nothing is written.
        """
        from affectstream.preprocessing.records.settings_check import require_same_settings

        if not self.overwrite:
            require_same_settings(self.out, settings)
        rows = [_label_row(clip) for clip in self.corpus_index.clips]

        def write() -> None:
            atomic_io.write_csv(self.out / LABELS, LABEL_COLUMNS, rows)
            click.echo(f"{self.out / LABELS}: {pluralize(len(rows), 'clip')}")

        self._step("labels", LABELS, rows, write)

    def prepare_records(
        self, settings: dict[str, Any] | None, prepare: Callable[[], PreprocessResult]
    ) -> PreprocessResult | None:
        """Prepares the records.

        Args:
          settings: everything that the records depend on, except for the recordings; None if it is
            not known, which always calls `prepare`.
          prepare: prepares the missing records.
        Returns:
          the result of `prepare`; None if nothing has changed.
        """
        from affectstream.preprocessing.dataset.data_folder import CLIPS_FILE
        from affectstream.preprocessing.records.fingerprints import input_fingerprints

        results: list[PreprocessResult] = []
        rejected = [vars(rejection) for rejection in self.corpus_index.rejected]
        inputs = [settings, input_fingerprints(self.corpus_index.clips, {}), rejected]

        def write() -> None:
            results.append(prepare())

        whole = settings is not None and _is_whole(self.out)
        self._step("audio", CLIPS_FILE, inputs, write, whole)
        return results[0] if results else None

    def run_later_steps(self, stop_after: str) -> None:
        """The steps after `audio`, up to and including `stop_after`."""
        for name in STEPS[2 : STEPS.index(stop_after) + 1]:
            {"features": self._features, "split": self._split, "transcripts": self._transcripts}[
                name
            ]()

    def rejected(self) -> list[dict[str, str]]:
        """Rejected inputs, as (path, reason), from the records or else from the corpus index."""
        from affectstream.preprocessing.dataset.data_folder import REJECTED_FILE

        path = self.out / REJECTED_FILE
        if not path.is_file():
            return [vars(rejection) for rejection in self.corpus_index.rejected]
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    # === Steps after the records ===

    def _features(self) -> None:
        folder = self._folder()
        rows = [row for row in folder.rows if row.num_samples and not row.excluded]
        if not rows:
            progress.print_message("features: no record has sound; there is nothing to write")
            return

        def write() -> None:
            from affectstream.modeling.data.feature_writer import write_features

            count = write_features(folder, FEATURES_NAME, self.out / FEATURES)
            click.echo(f"{self.out / FEATURES}: {pluralize(count, 'clip')}")

        keys = ("id", "label", "speaker", "recording", "audio_hash", "attributes")
        known = [[getattr(row, key) for key in keys] for row in rows]
        self._step("features", FEATURES, [FEATURES_NAME, folder.sample_rate_hz, known], write)
        self._update_feature_splits()  # the split may have changed since it was written

    def _split(self) -> None:
        from affectstream.preprocessing.dataset.data_folder import SPLITS_FILE, write_splits
        from affectstream.preprocessing.dataset.splits import (
            DEFAULT_RULE,
            MIN_SESSIONS,
            make_splits,
            sessions_of,
        )

        folder = self._folder()
        rule = folder.splits.rule
        sessions = sessions_of(folder.rows)
        if rule == DEFAULT_RULE and 0 < len(sessions) < MIN_SESSIONS:
            progress.print_message(
                f"split: by speaker, sessions are too few ({', '.join(sessions)})"
            )

        def write() -> None:
            splits = make_splits(folder.rows, rule)
            write_splits(self.out, splits)
            sizes = ", ".join(f"{split} {len(ids)}" for split, ids in splits.parts.items())
            click.echo(f"{self.out / SPLITS_FILE}: {sizes}")

        cells = [{**row.as_cells(), "shard": ""} for row in folder.rows]
        self._step("split", SPLITS_FILE, [rule, cells], write)
        self._update_feature_splits()

    def _transcripts(self) -> None:
        from affectstream.preprocessing.dataset.feature_table import (
            METADATA_COLUMNS,
            metadata_cells,
        )

        folder = self._folder()
        rows = [row for row in folder.rows if not row.excluded]
        table = [
            dict(zip((*METADATA_COLUMNS, "transcript"), (*known, row.transcript), strict=True))
            for known, row in zip(metadata_cells(rows, folder), rows, strict=True)
        ]

        def write() -> None:
            atomic_io.write_csv(self.out / TRANSCRIPTS, (*METADATA_COLUMNS, "transcript"), table)
            said = sum(bool(row.transcript) for row in rows)
            click.echo(
                f"{self.out / TRANSCRIPTS}: {pluralize(len(rows), 'clip')}, {said} with words"
            )

        self._step("transcripts", TRANSCRIPTS, table, write)

    def _update_feature_splits(self) -> None:
        """Updates the split column of features.csv to the current split."""
        path = self.out / FEATURES
        if not path.is_file():
            return
        folder = self._folder()
        split_of = {id: split for split, ids in folder.splits.parts.items() for id in ids}
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
        updated = [{**row, "split": split_of.get(row["clip"], "")} for row in rows]
        if updated == rows:
            return
        atomic_io.write_csv(path, columns, updated)
        origin = path.with_name(f"{path.name}.json")
        about = {"notes": folder.splits.notes, "rule": folder.splits.rule}
        atomic_io.write_json(origin, atomic_io.read_json(origin) | about)

    # === Finished steps ===

    def _folder(self) -> DataFolder:
        from affectstream.preprocessing.dataset.data_folder import open_data_folder

        return open_data_folder(self.out)

    def _step(
        self,
        name: str,
        output: str,
        inputs: Any,
        write: Callable[[], None],
        whole: bool = True,
    ) -> None:
        """Runs a step, unless its output is `whole` and was made from the same inputs."""
        path = self.out / STEPS_FILE
        done: dict[str, str] = atomic_io.read_json(path) if path.is_file() else {}
        digest = atomic_io.digest(inputs)
        if whole and (self.out / output).is_file() and done.get(name) == digest:
            progress.print_message(
                f"{name}: skipped, {self.out / output} is there and nothing has changed"
            )
            return
        write()
        atomic_io.write_json(path, done | {name: digest})


def _is_whole(out: Path) -> bool:
    """Whether every record of clips.csv is in a shard of the original size."""
    from affectstream.preprocessing.dataset import data_folder

    shards = out / data_folder.SHARDS_FOLDER
    try:
        folder = data_folder.open_data_folder(out)
        indices = [atomic_io.read_json(path) for path in shards.glob("*.json")]
    except UserError:
        return False  # preparing the records repairs it
    sizes = {name: size for index in indices for name, (size, _) in index["files"].items()}
    return {row.shard for row in folder.rows} <= set(sizes) and all(
        (shards / name).is_file() and (shards / name).stat().st_size == size
        for name, size in sizes.items()
    )


def _label_row(clip: Clip) -> dict[str, str]:
    row_attributes = clip.attributes
    end_s = "" if clip.end_s is None else f"{clip.end_s:g}"
    facts = {
        "turn": clip.recording.partition("/")[2] or clip.key,
        "start_s": row_attributes.get("dialogue_start_s", f"{clip.start_s:g}"),
        "end_s": row_attributes.get("dialogue_end_s", end_s),
        "wav": clip.name,
        "label": clip.label,
        "speaker": clip.speaker,
    }
    return {**facts, **{name: row_attributes.get(name, "") for name in LABEL_COLUMNS[len(facts) :]}}
