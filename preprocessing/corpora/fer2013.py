"""FER2013: 48x48 grey faces, as a folder tree, its zip, or one of its CSVs, in any layout."""

from __future__ import annotations

import csv
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from affectstream.core import lfs_pointer, storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.csv_table import delimiter_of
from affectstream.preprocessing.corpora.media_files import is_hidden, list_folder, printable
from affectstream.preprocessing.file_kinds import STILL_IMAGE_SUFFIXES, count_suffixes
from affectstream.preprocessing.labels import parse_codes

FOLDER_LABELS = parse_codes(
    "angry angry disgust disgust fear fearful happy happy neutral neutral sad sad"
    " surprise surprised"
)
# The official CSVs number their classes in this order.
CSV_LABELS = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
# Split names in lower case, letters only (`Public_Test` -> `publictest`).
SPLIT_OF_FOLDER = parse_codes(
    "training train train train validation validation valid validation val validation"
    " publictest test privatetest test test test"
)
# Tables with all splits, by their usual names.
TABLES = ("fer2013.csv", "icml_face_data.csv")
# Published during the challenge: the training split, and the test split without labels.
CHALLENGE_TABLES = ("train.csv", "test.csv")
_EXPECTED = "expected like Training/happy/x.jpg"


@dataclass(frozen=True, kw_only=True)
class Fer2013Corpus(Corpus):
    """FER2013 with its official split: Training, PublicTest and PrivateTest.

    If PrivateTest exists, it is the test split and PublicTest the validation split, as in the
    challenge. Otherwise PublicTest is the test split, and `split` takes validation from Training. A
    folder named validation is the validation split.
    """

    def build_index(self, source: Path) -> CorpusIndex:
        """Lists the images; opens none of them.

        Args:
          source: a folder or zip with images in PART/EMOTION, at any depth, in any case and format;
            a CSV with the columns emotion, pixels and Usage in any order; or a folder with such a
            CSV at any depth.
        Raises:
          UserError: missing, not a folder, zip or CSV, or without images.
        """
        rejected: list[Rejection] = []
        clips, ignored_suffixes = self._find(source, rejected)
        if not clips:
            first = f"; first picture: {rejected[0].path}" if rejected else ""
            raise UserError(f"{source}: no FER2013 picture in it ({_EXPECTED}){first}")
        if any("privatetest" in clip.attributes["part"] for clip in clips):
            clips = [
                replace(clip, split="validation")
                if clip.attributes["part"] == "publictest"
                else clip
                for clip in clips
            ]
        return CorpusIndex.of(clips, rejected, ignored_suffixes=ignored_suffixes)

    def _find(self, source: Path, rejected: list[Rejection]) -> tuple[list[Clip], Counter[str]]:
        """The clips of a source of any kind, and the suffixes of its other files."""
        if not source.exists():
            raise UserError(f"{source}: not found; give FER2013's folder, zip or CSV")
        if source.is_dir():
            listing = list_folder(source)
            rejected += listing.rejected
            pictures = listing.with_suffixes(STILL_IMAGE_SUFFIXES)
            table = _table_in(listing.files, TABLES if pictures else TABLES + CHALLENGE_TABLES)
            if table is not None:
                return list(self._from_csv(table, rejected)), listing.ignored_suffixes([table])
            names = [storage_paths.relative_name(path, source) for path in pictures]
            clips = list(self._from_names(source, names, rejected))
            return clips, listing.ignored_suffixes(pictures)
        if zipfile.is_zipfile(source):
            names, others = _members(source)
            clips = list(self._from_names(source, names, rejected))
            if not clips:
                _require_no_table(source, others)
            return clips, count_suffixes(map(PurePosixPath, others))
        if source.suffix.lower() == ".csv":
            return list(self._from_csv(source, rejected)), Counter()
        if lfs_pointer.is_pointer_file(source):
            raise UserError(f"{source}: {lfs_pointer.POINTER_MESSAGE}")
        raise UserError(
            f"{source}: neither a folder, a zip nor a CSV; give one of FER2013's, an archive of"
            " another kind unpacked"
        )

    def _from_names(
        self, source: Path, names: list[str], rejected: list[Rejection]
    ) -> Iterator[Clip]:
        is_folder = source.is_dir()
        for name in names:
            part, label = _part_and_label(name)
            if not part or not label:
                rejected.append(Rejection(printable(name), f"not below PART/EMOTION; {_EXPECTED}"))
            elif is_folder:
                yield self._clip(source / name, printable(name), part, label)
            else:
                yield self._clip(source, name, part, label, inner=name)

    def _from_csv(self, source: Path, rejected: list[Rejection]) -> Iterator[Clip]:
        columns: dict[str, int] = {}
        delimiter = ","
        for number, offset, line in _lines(source):
            if number == 1:
                delimiter = delimiter_of([line])
                columns = _columns(source, line, delimiter)
                continue
            if not line.strip():
                continue
            try:
                cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
            except csv.Error:  # a carriage return within a cell
                cells = []
            name = f"{source.name}:{number}"
            cell = {key: cells[i] for key, i in columns.items() if i < len(cells)}
            part = _part(cell.get("usage", "" if "usage" in columns else "Training"))
            good = len(cell) == len(columns) and cell["emotion"] in set("0123456") and part
            if not good:
                rejected.append(Rejection(name, "not a row of emotion 0-6, pixels, Usage"))
                continue
            label = CSV_LABELS[int(cell["emotion"])]
            yield self._clip(source, f"row{number:06d}", part, label, inner=str(offset))

    def _clip(self, path: Path, name: str, part: str, label: str, inner: str = "") -> Clip:
        return Clip(
            path=path,
            name=path.name if inner == name else name,
            corpus=self.name,
            label=label,
            speaker="",
            recording=f"{self.name}/{name}",
            inner=inner,
            split=SPLIT_OF_FOLDER[part],
            attributes={"part": part},
        )


def _part(word: str) -> str:
    """A key of `SPLIT_OF_FOLDER`, or ""."""
    bare = re.sub(r"[^a-z]", "", word.lower())
    return bare if bare in SPLIT_OF_FOLDER else ""


def _part_and_label(name: str) -> tuple[str, str]:
    """Key of `SPLIT_OF_FOLDER` and label, from the nearest parent folders; "" if none matches.

    Args:
      name: with slashes, or with backslashes as some programs write them into a zip.
    """
    folders = [folder.strip().lower() for folder in name.replace("\\", "/").split("/")[:-1]]
    places_of_label = [i for i, folder in enumerate(folders) if folder in FOLDER_LABELS]
    if not places_of_label:
        return "", ""
    place = places_of_label[-1]
    part = next((part for folder in reversed(folders[:place]) if (part := _part(folder))), "")
    return part, FOLDER_LABELS[folders[place]]


def _table_in(files: Iterable[Path], names: Sequence[str]) -> Path | None:
    """The table with the first of some names; of several, the shallowest."""
    ranked = [
        (names.index(path.name.lower()), len(path.parts), path)
        for path in files
        if path.name.lower() in names
    ]
    return min(ranked)[2] if ranked else None


def _members(archive: Path) -> tuple[list[str], list[str]]:
    """Names of the images in a zip, and of its other files; hidden files are in neither."""
    with storage_paths.open_binary(archive) as stream, zipfile.ZipFile(stream) as file:
        names = sorted(name for name in file.namelist() if not name.endswith("/"))
    names = [name for name in names if not any(map(is_hidden, re.split(r"[/\\]", name)))]
    pictures = [n for n in names if PurePosixPath(n).suffix.lower() in STILL_IMAGE_SUFFIXES]
    return pictures, [name for name in names if name not in set(pictures)]


def _require_no_table(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        if PurePosixPath(name).suffix.lower() in (".csv", ".gz", ".tar", ".tgz"):
            raise UserError(f"{archive}: holds {name}; unpack it and give that to --source")


def _columns(source: Path, header: str, delimiter: str) -> dict[str, int]:
    """Column indices of "emotion", "pixels" and, if present, "usage" in a CSV.

    Raises:
      UserError: another header.
    """
    cells = [cell.strip().strip('"').lower() for cell in header.split(delimiter)]
    wanted: tuple[str, ...] = ("emotion", "pixels", "usage")
    columns = {cell: cells.index(cell) for cell in wanted if cell in cells}
    if "pixels" in columns and "emotion" not in columns:
        raise UserError(
            f"{source}: pixels without emotion, the challenge's test part, whose labels were not"
            f" given out with it; give {TABLES[1]} or {TABLES[0]}, which hold all parts"
        )
    if lfs_pointer.is_pointer_text(header):
        raise UserError(f"{source}: {lfs_pointer.POINTER_MESSAGE}")
    if not {"emotion", "pixels"} <= columns.keys():
        raise UserError(f"{source}: header is not emotion,pixels,Usage; not FER2013's")
    return columns


def _lines(path: Path) -> Iterator[tuple[int, int, str]]:
    """Yields (line number from 1, byte offset, text)."""
    offset = 0
    try:
        with storage_paths.open_binary(path) as file:
            for number, line in enumerate(file, start=1):
                bare = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                yield number, offset, bare.decode("ascii", errors="replace").rstrip("\r\n")
                offset += len(line)
    except OSError as error:
        raise from_os_error(error, path) from error


FER2013 = Fer2013Corpus(
    name="fer2013",
    citation="Goodfellow et al. 2013, Challenges in Representation Learning",
    licence="research use",
    official_split=True,
    faces_cropped=True,
)
