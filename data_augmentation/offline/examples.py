"""Pictures, sounds and words of clips before and after, for a person to open."""

from __future__ import annotations

import re
import shutil
import wave
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from affectstream.core import atomic_io
from affectstream.data_augmentation.offline.augmenter import AugmentedCopy, Augmenter
from affectstream.data_augmentation.offline.text_augmenter import REWORDED_BY
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder
from affectstream.preprocessing.records.record import Record, read_records

APPLIED = "applied.json"
MAX_COPIES_SHOWN = 4
MAX_FACES_SHOWN = 8
MIN_CELL_PX = 96
CAPTION_PX = 18
MAX_NAME_LENGTH = 60


def write_examples(
    folder: Path,
    source: DataFolder,
    rows: Sequence[ClipRow],
    augmenter: Augmenter,
    num_copies: int,
    copies: Sequence[ClipRow] = (),
) -> None:
    """Rewrites the example folder; removes it without `rows`.

    For clip 3 it holds `03-happy-NAME-before.wav`, `-copy1.wav` and so on, `-faces.png` with one
    row of faces before and one for each copy, `-words.txt` with a line for each text, and
    `applied.json` with what was done.

    Args:
      folder: `examples` of the new data folder.
      source: the clips before.
      rows: those to show, of any shards.
      num_copies: audio and video copies of each clip; at most four are shown.
      copies: the rows of all copies; those with other words are shown.
    Raises:
      UserError: a shard is damaged, or the folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not rows:
        return
    shown = range(1, min(num_copies, MAX_COPIES_SHOWN) + 1)
    applied: dict[str, dict[str, Any]] = {}
    texts: dict[str, list[ClipRow]] = defaultdict(list)
    for row in copies:
        if REWORDED_BY in row.attributes:
            texts[row.copy_of].append(row)
    with atomic_io.atomic_write(folder) as temporary:
        temporary.mkdir()
        for number, record in enumerate(_records(source, rows), 1):
            changed = {n: copy for n in shown if (copy := augmenter.copy(record, n)) is not None}
            stem = f"{number:02d}-{record.label}-{_slug(record.path)}"
            _write_sounds(temporary, stem, record, changed)
            _write_faces(temporary, stem, record, changed, source.synthetic)
            _write_words(temporary, stem, record, texts[record.id])
            applied[stem] = {
                "clip": record.id,
                "synthetic": source.synthetic,
                "copies": {f"copy{n}": copy.applied for n, copy in changed.items()},
            }
            if texts[record.id]:
                applied[stem]["texts"] = {row.id: _how(row) for row in texts[record.id]}
        atomic_io.write_json(temporary / APPLIED, applied)


def is_up_to_date(folder: Path, rows: Sequence[ClipRow]) -> bool:
    """Whether the example folder shows these clips, in this order; without `rows`, is absent."""
    if not rows:
        return not folder.exists()
    if not (folder / APPLIED).is_file():
        return False
    applied = atomic_io.read_json(folder / APPLIED)
    return [shown["clip"] for shown in applied.values()] == [row.id for row in rows]


def _records(source: DataFolder, rows: Sequence[ClipRow]) -> list[Record]:
    """The records of `rows`, in their order."""
    records: dict[str, Record] = {}
    for path in source.shard_paths(rows):
        wanted = {row.id: row for row in rows if row.shard == path.name}
        records |= {record.id: record for record in read_records(path, wanted)}
    return [records[row.id] for row in rows if row.id in records]


def _slug(path: str) -> str:
    """A file name's stem of letters, digits, dots and dashes only."""
    stem = re.sub(r"\.[A-Za-z0-9]{1,5}(?=$|[!@#])", "", Path(path).name)
    return re.sub(r"[^A-Za-z0-9.-]+", "-", stem).strip("-.")[:MAX_NAME_LENGTH] or "clip"


# === Sound ===


def _write_sounds(
    folder: Path, stem: str, record: Record, copies: Mapping[int, AugmentedCopy]
) -> None:
    if not record.waveform.size:
        return
    sounds = {"before": record.waveform}
    sounds |= {f"copy{n}": copy.record.waveform for n, copy in copies.items()}
    for name, pcm in sounds.items():
        with wave.open(str(folder / f"{stem}-{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(record.sample_rate_hz)
            file.writeframes(pcm.astype("<i2").tobytes())


# === Words ===


def _write_words(folder: Path, stem: str, record: Record, texts: Sequence[ClipRow]) -> None:
    if texts:
        lines = [f"before: {_one_line(record.transcript)}"]
        lines += [f"{_how(row)}: {_one_line(row.transcript)}" for row in texts]
        atomic_io.write_text(folder / f"{stem}-words.txt", "\n".join(lines) + "\n")


def _how(row: ClipRow) -> str:
    return row.attributes[REWORDED_BY]


def _one_line(text: str) -> str:
    return " ".join(text.split())


# === Faces ===


def _write_faces(
    folder: Path, stem: str, record: Record, copies: Mapping[int, AugmentedCopy], synthetic: bool
) -> None:
    found = np.flatnonzero(record.face_mask)
    if not found.size or record.faces.ndim != 4:  # action units cannot be shown
        return
    picks = found[np.linspace(0, found.size - 1, min(found.size, MAX_FACES_SHOWN)).astype(int)]
    stamp = " (SYNTHETIC)" if synthetic else ""
    strips = [_strip(record.faces[picks], f"before{stamp}")]
    for number, copy in copies.items():
        names = ", ".join(name for name, _ in copy.applied["video"]) or "unchanged"
        strips.append(_strip(copy.record.faces[picks], f"copy{number}: {names}"))
    sheet = np.concatenate(strips)
    (folder / f"{stem}-faces.png").write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _strip(faces: np.ndarray, caption: str) -> np.ndarray:
    """(n, side, side, C) uint8 RGB or grey -> a captioned row (H, W, 3) uint8 BGR."""
    scale = -(-MIN_CELL_PX // faces.shape[1])
    row = np.concatenate(list(faces), axis=1).repeat(scale, axis=0).repeat(scale, axis=1)
    row = np.repeat(row, 3, axis=2) if row.shape[2] == 1 else row[:, :, ::-1]
    title = np.zeros((CAPTION_PX, row.shape[1], 3), np.uint8)
    cv2.putText(title, caption, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1)
    return np.concatenate([title, row])
