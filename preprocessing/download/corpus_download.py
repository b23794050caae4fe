"""Downloads a freely available corpus; a further run fetches only what is missing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io, progress
from affectstream.core.checksum import Checksum, git_blob_id
from affectstream.core.errors import UserError, from_os_error
from affectstream.core.http_fetch import RemoteFile, StoppedError, fetch, fetch_bytes
from affectstream.core.lfs_pointer import parse_pointer
from affectstream.preprocessing.download.publishers import DOWNLOADABLE, MANUAL_ONLY
from affectstream.preprocessing.download.remote_item import DownloadRequest, RemoteItem
from affectstream.preprocessing.download.unzip import DamagedArchiveError, check_disk, unpack

WORK_FOLDER = ".download"
NUM_CONNECTIONS = 8
MAX_CONSECUTIVE_FAILURES = 8


@dataclass(frozen=True)
class DownloadResult:
    """Result of a download.

    Attributes:
      num_present: items that existed before.
      num_fetched: items fetched in this run.
      failures: (name, reason) of each file that could not be downloaded.
      num_untried: files not attempted, because too many consecutive ones failed.
      note: remark about how the files were verified, or "".
    """

    num_present: int
    num_fetched: int
    failures: tuple[tuple[str, str], ...]
    num_untried: int
    note: str


def download(name: str, out: Path, request: DownloadRequest) -> DownloadResult:
    """Fetches, checks and unpacks a corpus.

    Args:
      name: a key of `DOWNLOADABLE` or `MANUAL_ONLY`.
      out: corpus folder, created or completed; every file or extracted folder in it is complete.
      request: requested actors and streams.
    Raises:
      UserError: not freely available, no such choice, too little disk space, or no list of files.
    """
    if name in MANUAL_ONLY:
        raise UserError(f"{name}: cannot be fetched freely: {MANUAL_ONLY[name]}")
    if name not in DOWNLOADABLE:
        raise UserError(
            f"no source named {name!r}; known: {', '.join((*DOWNLOADABLE, *MANUAL_ONLY))}"
        )
    source = DOWNLOADABLE[name]
    _check_wish(name, request)
    items = source.items(request)
    if not items:
        raise UserError(f"{name}: the publisher lists no such file; see {source.manual_download}")
    missing = [item for item in items if not _is_there(out, item)]
    _forget_done(out, [item for item in items if item not in missing])
    check_disk(out, sum(item.remote.num_bytes or 0 for item in missing))
    job = _Job(out, missing)
    try:
        job.run()
    except OSError as error:
        raise from_os_error(error, out) from error
    return DownloadResult(
        len(items) - len(missing),
        job.num_fetched,
        tuple(job.failures),
        job.num_untried,
        source.note,
    )


def _check_wish(name: str, request: DownloadRequest) -> None:
    source = DOWNLOADABLE[name]
    if request.stream not in source.streams:
        raise UserError(f"{name}: has no {request.stream}; known: {', '.join(source.streams)}")
    if request.actors and not source.actors:
        raise UserError(f"{name}: cannot be split by actor; leave --actors out")
    strangers = [str(actor) for actor in request.actors if actor not in source.actors]
    if strangers:
        first, last = source.actors[0], source.actors[-1]
        raise UserError(f"{name}: no actor {', '.join(strangers)}; there are {first} to {last}")


def _is_there(out: Path, item: RemoteItem) -> bool:
    return all((out / result).exists() for result in item.output_paths)


def _fetched(out: Path, item: RemoteItem) -> Path:
    """Path of an archive until it is extracted, and of a file until it is complete."""
    return out / WORK_FOLDER / item.path.replace("/", "__")


def _forget_done(out: Path, items: Sequence[RemoteItem]) -> None:
    """Removes archives that were already extracted when an earlier download was killed."""
    for item in items:
        _fetched(out, item).unlink(missing_ok=True)
    _remove_if_empty(out / WORK_FOLDER)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


class _Job:
    """The items of one call; small files are fetched concurrently."""

    def __init__(self, out: Path, items: Sequence[RemoteItem]) -> None:
        self.out = out
        self.items = items
        self.failures: list[tuple[str, str]] = []
        self.num_fetched = 0
        self.num_untried = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._bar: Any = None
        self._sized = all(item.remote.num_bytes is not None for item in items)

    def run(self) -> None:
        """Fetches all items; one failure does not stop the others."""
        if not self.items:
            return
        work = self.out / WORK_FOLDER
        work.mkdir(parents=True, exist_ok=True)
        outputs = [self.out / path for item in self.items for path in item.output_paths]
        for folder in {path.parent for path in outputs}:  # a killed download was extracting there
            atomic_io.remove_stale_temporaries(folder)
        total = sum(item.remote.num_bytes or 0 for item in self.items)
        sized = (total, "B") if self._sized else (len(self.items), "file")
        with progress.bar(sized[0], "download", sized[1]) as self._bar:
            self._bar.unit_scale = self._sized
            archives = [item for item in self.items if item.extracted_folders]
            self._all(archives, 1)
            self._all([item for item in self.items if not item.extracted_folders], NUM_CONNECTIONS)
        if not self.failures and not self.num_untried:
            for path in (*work.glob("*.part"), *work.glob("*.part.json")):
                path.unlink()
            _remove_if_empty(work)

    def _all(self, items: Sequence[RemoteItem], num_connections: int) -> None:
        in_a_row = 0
        pool = ThreadPoolExecutor(num_connections)
        try:
            futures = {pool.submit(self._one, item): item for item in items}
            for future in as_completed(futures):
                try:
                    future.result()
                except StoppedError:
                    self.num_untried += 1
                except UserError as error:
                    self.failures.append((futures[future].path, str(error)))
                    in_a_row += 1
                    if in_a_row == MAX_CONSECUTIVE_FAILURES:
                        self._stop.set()
                else:
                    self.num_fetched += 1
                    in_a_row = 0
        except BaseException:
            self._stop.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _one(self, item: RemoteItem) -> None:
        if self._stop.is_set():
            raise StoppedError
        remote = _by_pointer(item, self._stop) if item.pointer else item.remote
        fetched = _fetched(self.out, item)
        if item.extracted_folders and fetched.is_file():
            self._count(remote.num_bytes or 0)
        else:
            fetch(remote, fetched, self._count, self._stop)
        if item.extracted_folders:
            try:
                unpack(fetched, self.out, item.extracted_folders)
            except DamagedArchiveError:
                fetched.unlink()
                raise
            fetched.unlink()
        else:
            target = self.out / item.path
            target.parent.mkdir(parents=True, exist_ok=True)
            fetched.replace(target)
        self._count(0, 1)

    def _count(self, num_bytes: int, num_files: int = 0) -> None:
        with self._lock:
            self._bar.update(num_bytes if self._sized else num_files)


def _by_pointer(item: RemoteItem, stop: threading.Event) -> RemoteFile:
    """The file with the size and SHA-256 in its Git LFS pointer.

    Raises:
      UserError: the pointer has other bytes than in git, or is invalid.
    """
    data, where, expected = fetch_bytes(item.pointer_url, stop), item.pointer_url, item.pointer
    if expected is not None and (value := git_blob_id(data)) != expected.value:
        raise UserError(
            f"{where}: a pointer with a wrong checksum (git {value}, expected {expected.value} by "
            f"{expected.source}); try again"
        )
    size_and_sha256 = parse_pointer(data)
    if size_and_sha256 is None:
        raise UserError(f"{where}: no Git LFS pointer; the publisher has changed its form")
    return replace(
        item.remote,
        num_bytes=size_and_sha256[0],
        checksum=Checksum("sha256", size_and_sha256[1], where),
    )
