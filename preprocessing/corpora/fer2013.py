"""FER2013: 48x48 grey faces, as a folder tree, its zip, or the official CSV."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import places
from errors import UserError, from_os_error
from preprocessing.clip import Clip, Inventory, Rejection

FOLDER_LABELS = {
    "angry": "angry",
    "disgust": "disgust",
    "fear": "fearful",
    "happy": "happy",
    "neutral": "neutral",
    "sad": "sad",
    "surprise": "surprised",
}
# The official CSV numbers its classes in this order.
CSV_LABELS = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
PARTS = {
    "training": "train",
    "train": "train",
    "publictest": "test",
    "privatetest": "test",
    "test": "test",
}


@dataclass(frozen=True)
class Fer2013Corpus:
    """FER2013 with its official split: Training trains, PublicTest and PrivateTest test.

    Where PrivateTest is there it is the test part and PublicTest validates, as in the challenge;
    else PublicTest is the test part, and `split` cuts validation out of Training.
    """

    name: str = "fer2013"
    citation: str = "Goodfellow et al. 2013, Challenges in Representation Learning"
    licence: str = "research use"
    synthetic: bool = False
    official_split: bool = True
    faces_cropped: bool = True

    def inventory(self, source: Path) -> Inventory:
        """Lists the pictures; opens none of them.

        Raises:
          UserError: missing, neither folder, zip nor CSV, or no picture in it.
        """
        if not source.exists():
            raise UserError(f"{source}: not found; give FER2013's folder, zip or CSV")
        rejected: list[Rejection] = []
        if source.is_dir() and (source / "fer2013.csv").is_file():
            source = source / "fer2013.csv"
        if source.is_dir():
            clips = list(self._from_names(source, _tree(source), rejected))
        elif zipfile.is_zipfile(source):
            clips = list(self._from_names(source, _members(source), rejected))
        elif source.suffix.lower() == ".csv":
            clips = list(self._from_csv(source, rejected))
        else:
            raise UserError(f"{source}: neither a folder, a zip nor a CSV; give one of FER2013's")
        if not clips:
            raise UserError(f"{source}: no FER2013 picture in it (looked for PART/EMOTION/*.jpg)")
        if any("privatetest" in clip.attributes["part"] for clip in clips):
            clips = [
                replace(clip, split="validation")
                if clip.attributes["part"] == "publictest"
                else clip
                for clip in clips
            ]
        return Inventory(tuple(sorted(clips, key=lambda clip: clip.key)), tuple(rejected))

    def _from_names(
        self, source: Path, names: list[str], rejected: list[Rejection]
    ) -> Iterator[Clip]:
        for name in names:
            part, _, rest = name.partition("/")
            folder = rest.partition("/")[0]
            if part.lower() not in PARTS or folder not in FOLDER_LABELS:
                reason = "not below PART/EMOTION; expected like Training/happy/x.jpg"
                rejected.append(Rejection(name, reason))
            elif source.is_dir():
                yield self._clip(source / name, name, part, FOLDER_LABELS[folder])
            else:
                yield self._clip(source, name, part, FOLDER_LABELS[folder], inner=name)

    def _from_csv(self, source: Path, rejected: list[Rejection]) -> Iterator[Clip]:
        for number, offset, line in _lines(source):
            try:
                cells = next(csv.reader([line]), [])
            except csv.Error:  # a carriage return within a cell
                cells = []
            if number == 1:
                if [cell.strip() for cell in cells] != ["emotion", "pixels", "Usage"]:
                    raise UserError(f"{source}: header is not emotion,pixels,Usage; not FER2013's")
                continue
            name = f"{source.name}:{number}"
            good = len(cells) == 3 and cells[0] in set("0123456") and cells[2].lower() in PARTS
            if not good:
                rejected.append(Rejection(name, "not a row of emotion 0-6, pixels, Usage"))
                continue
            label = CSV_LABELS[int(cells[0])]
            yield self._clip(source, f"row{number:06d}", cells[2], label, inner=str(offset))

    def _clip(self, path: Path, name: str, part: str, label: str, inner: str = "") -> Clip:
        return Clip(
            path=path,
            name=path.name if inner == name else name,
            corpus=self.name,
            label=label,
            speaker="",
            recording=f"{self.name}/{name}",
            inner=inner,
            split=PARTS[part.lower()],
            attributes={"part": part.lower()},
        )


def _tree(folder: Path) -> list[str]:
    suffixes = {".jpg", ".jpeg", ".png"}
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return sorted(places.below(path, folder) for path in found)


def _members(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
    return sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png")))


def _lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yields (line number from 1, byte offset, text)."""
    offset = 0
    try:
        with places.open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                yield number, offset, line.decode("ascii", errors="replace").rstrip("\r\n")
                offset += len(line)
    except OSError as error:
        raise from_os_error(error, path) from error


FER2013 = Fer2013Corpus()
