"""Clips prepared in worker processes, handed back in order, with bounded memory."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import uuid
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from errors import MediaError, UserError, from_os_error
from preprocessing.clip import Clip, Rejection
from preprocessing.preparation import ClipPreparer, PreparationSettings
from preprocessing.records import Record
from storage import TEMPORARY_MARK

# Clips under way a worker: enough to keep it busy, few enough to bound what waits on disk.
CLIPS_AHEAD = 4

_preparer: ClipPreparer | None = None


def prepare_clips(
    clips: Iterable[Clip],
    settings: PreparationSettings,
    weights_dir: Path | None,
    num_workers: int,
    spool: Path,
) -> Generator[tuple[Clip, Iterator[Record | Rejection]], None, None]:
    """Yields each clip with its records, in the order given whatever the number of workers.

    A clip that fails ends in one `Rejection`; records that came before it must then be dropped.

    Args:
      spool: folder for finished records that wait for their turn; what an early end leaves in it
        is for the caller to remove, after `close`.
    Raises:
      UserError: weights absent or wrong, or a worker died (out of memory, a crash in a codec).
    """
    if num_workers == 1:
        cv2.setNumThreads(1)
        preparer = ClipPreparer(settings, weights_dir)
        for clip in clips:
            yield clip, _prepared(preparer, clip)
        return
    # Weights are fetched and checked here once, not by all workers at the same time.
    ClipPreparer(settings, weights_dir)
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[Clip, Future[Path]]] = deque()
    with ProcessPoolExecutor(
        num_workers, context, initializer=_start_worker, initargs=(settings, weights_dir)
    ) as pool:
        try:
            for clip in clips:
                waiting.append((clip, pool.submit(_spool, clip, spool)))
                if len(waiting) >= num_workers * CLIPS_AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _next(
    waiting: deque[tuple[Clip, Future[Path]]],
) -> tuple[Clip, Iterator[Record | Rejection]]:
    clip, future = waiting.popleft()
    try:
        return clip, _unspool(future.result())
    except BrokenProcessPool as error:
        raise UserError(
            f"a worker died near {clip.name} (out of memory, or a crash in a codec);"
            " run again with --workers 1 to find the file"
        ) from error


def _prepared(preparer: ClipPreparer, clip: Clip) -> Iterator[Record | Rejection]:
    try:
        yield from preparer.records(clip)
    except MediaError as error:
        yield Rejection(clip.key, str(error))


# === In the worker ===


def _start_worker(settings: PreparationSettings, weights_dir: Path | None) -> None:
    global _preparer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    _preparer = ClipPreparer(settings, weights_dir)


def _spool(clip: Clip, spool: Path) -> Path:
    """Writes the records of one clip, one pickle after the other, and names the file."""
    assert _preparer is not None
    path = spool / f"clip{TEMPORARY_MARK}{uuid.uuid4().hex}"
    try:
        with open(path, "wb") as file:
            for item in _prepared(_preparer, clip):
                pickle.dump(item, file, pickle.HIGHEST_PROTOCOL)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise from_os_error(error, spool) from error
    return path


def _unspool(path: Path) -> Iterator[Record | Rejection]:
    try:
        with open(path, "rb") as file:
            while True:
                try:
                    yield pickle.load(file)
                except EOFError:
                    return
    finally:
        path.unlink(missing_ok=True)
