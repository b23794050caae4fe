"""Several copies of a real corpus, as a manifest: the same work so many times over.

To the program a clip is its name in the table, so copies under other names are other clips: each is
decoded, searched for faces and written. That their content is equal is found only when all is
prepared; `clips.csv` then marks all but the first of equal ones as excluded.
"""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

from affectstream.core import atomic_io
from affectstream.preprocessing.dataset.data_folder import CLIPS_FILE
from affectstream.preprocessing.media.media_file import MediaFile
from benchmarks import inputs

NUM_SOUND_FILES = 40
SOUND_SUFFIX = ".flac"


@dataclass(frozen=True)
class Corpus:
    """Recordings that are the same work together.

    Attributes:
      files: of one copy.
      hours: of media in one copy.
      told: one line that says what they are.
    """

    files: tuple[Path, ...]
    hours: float
    told: str

    @property
    def num_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)


def corpus(work: Path, is_quick: bool, times: int = 1) -> Corpus:
    """The real videos and sounds that `EMOTION_DATA` holds, else some of the SYNTHETIC corpus.

    Args:
      times: how often each stands in one copy.
    """
    data = None if is_quick else inputs.data_folder()
    if data is None:
        files = inputs.synthetic_corpus(work, True)[:4]
        told = f"{len(files)} clips of the SYNTHETIC sample corpus"
    else:
        videos = sorted(p for p in (data / "clips").iterdir() if p.suffix in (".mp4", ".mov"))
        every = sorted((data / "ravdess").rglob(f"*{SOUND_SUFFIX}"))
        sounds = every[:: max(1, len(every) // NUM_SOUND_FILES)][:NUM_SOUND_FILES]
        files = [*videos, *sounds]
        told = f"{len(videos)} real videos (336p to 720p) and {len(sounds)} sounds of RAVDESS"
    seconds = sum(duration_s(file) for file in files) * times
    often = f", {times} times each" if times > 1 else ""
    line = f"{told}{often}: {len(files) * times} clips, {seconds / 60:.1f} minutes"
    return Corpus(tuple(files) * times, seconds / 3600, line)


def duration_s(file: Path) -> float:
    with MediaFile(file) as media:
        return media.info.duration_s


def manifest(one: Corpus, folder: Path, copies: int) -> Path:
    """A table of so many copies; files of their own, so that none shares its page cache."""
    rows = []
    for copy in range(copies):
        for number, file in enumerate(one.files):
            name = f"copy-{copy}/{number:05d}{file.suffix}"
            target = folder / name
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            rows.append({"path": name, "label": "happy", "speaker": f"s{number % 8}"})
    table = folder / f"{copies}.csv"
    atomic_io.write_csv(table, ("path", "label", "speaker"), rows)
    return table


def warm_page_cache(one: Corpus, folder: Path, copies: int) -> None:
    """Brings every file of the copies into the page cache."""
    for copy in range(copies):
        for number, file in enumerate(one.files):
            (folder / f"copy-{copy}" / f"{number:05d}{file.suffix}").read_bytes()


def words(table: Path, out: Path, detector: str, weights: Path | None, *more: str) -> list[str]:
    """The command line of `preprocess` over such a table."""
    given = ["cli.py", "preprocess", "--corpus", "manifest", "--source", str(table)]
    given += ["--out", str(out), "--detector", detector, *more]
    return given + (["--weights-dir", str(weights)] if weights is not None else [])


def num_records(out: Path) -> int:
    """Rows of `clips.csv`, excluded ones as well."""
    with open(out / CLIPS_FILE, newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv.DictReader(file))
