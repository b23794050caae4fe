"""Inputs for a trained model: the recordings of a folder, or a small SYNTHETIC corpus."""

from __future__ import annotations

import argparse
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from affectstream.preprocessing.file_kinds import IMAGE_SUFFIXES, MEDIA_SUFFIXES
from benchmarks import inputs, report

if TYPE_CHECKING:
    from affectstream.serving.inference.recognizer import Recognizer

QUICK_COUNT = 2


def parser(description: str | None, section: str) -> argparse.ArgumentParser:
    """Options of a benchmark that runs a model on recordings."""
    made = report.parser(description, section=section)
    made.add_argument("--model", type=Path, help="run or export [default: pretrained/emotion]")
    made.add_argument("--clips", type=Path, help="folder of recordings and pictures")
    made.add_argument("--limit", type=int, help="ask about so many of them")
    return made


def recognizer(chosen: argparse.Namespace) -> Recognizer:
    """The model that was named, or the bundled one."""
    from affectstream.serving.bundled.bundled_models import EMOTION, bundled_model_path
    from affectstream.serving.loading import load

    return load(chosen.model or bundled_model_path(EMOTION), chosen.weights_dir)


@contextlib.contextmanager
def chosen_files(chosen: argparse.Namespace) -> Iterator[tuple[list[Path], Path]]:
    """The files to ask about, and a folder to work in.

    Raises:
      SystemExit: neither --clips nor --quick, or no recording.
    """
    if chosen.clips is None and not chosen.quick:
        raise SystemExit("name a folder with --clips, or --quick")
    with report.work_folder(chosen.work) as work:
        if chosen.clips is None:
            yield inputs.synthetic_corpus(work, True)[: chosen.limit or QUICK_COUNT], work
        else:
            yield media_below(chosen.clips, chosen.limit), work


def media_below(folder: Path, limit: int | None) -> list[Path]:
    """Media files and pictures below a folder; of more than `limit`, a chance but fixed choice.

    Raises:
      SystemExit: there is none.
    """
    kinds = MEDIA_SUFFIXES | IMAGE_SUFFIXES
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
    if not files:
        raise SystemExit(f"{folder}: no recording in it; name another folder with --clips")
    if limit is not None and limit < len(files):
        files = sorted(random.Random(0).sample(files, limit))
    return files
