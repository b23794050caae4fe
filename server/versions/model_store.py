"""Finds, loads, leases and unloads the versions of the model."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from affectstream.core.errors import UserError
from affectstream.server.errors import ServingError, invalid
from affectstream.server.limits import THREAD_STOP_TIMEOUT_S
from affectstream.server.versions.loaded_version import LoadedVersion
from affectstream.server.versions.model_source import FoundVersions, VersionSource, open_source
from affectstream.serving.exported.savedmodel_audit import file_stats

__all__ = ["ModelStore", "VersionStatus", "open_source"]

LOG = logging.getLogger(__name__)
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"
MAX_ENDED = 100  # that are still told of


@dataclass(frozen=True)
class VersionStatus:
    """As ModelVersionStatus (tensorflow/serving, apis/get_model_status.proto).

    Attributes:
      state: LOADING, AVAILABLE, UNLOADING or END; START is passed over.
      code: "OK", or why it could not be loaded, a name of a gRPC code.
    """

    version: int
    state: str
    code: str = "OK"
    message: str = ""


@dataclass(eq=False)
class _Entry:
    loaded: LoadedVersion
    num_leases: int = 0


class ModelStore:
    """Keeps the versions of one model in memory that its source lists.

    A thread looks every `poll_s` seconds. It loads and warms up a new version while the others
    answer, and unloads one that is no longer wanted when the last lease of it came back. A version
    that fails keeps its reason and is tried again once its folder changes.

    Args:
      source: see `open_source`.
      load: folder of a version -> the version; may take long, is called from one thread.
      poll_s: seconds between two polls.

    Attributes:
      name: of the model.
      on_change: called from the polling thread with a version and whether it answers: True once it
        does, False when no lease is left of it and it is about to be closed.
    """

    def __init__(
        self, source: VersionSource, load: Callable[[Path], LoadedVersion], poll_s: float = 5.0
    ) -> None:
        self.name = source.name
        self.on_change: Callable[[LoadedVersion, bool], None] = lambda loaded, answers: None
        self._source = source
        self._load = load
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._entries: dict[int, _Entry] = {}
        self._retired: list[_Entry] = []
        self._statuses: dict[int, VersionStatus] = {}
        self._failed: dict[int, object] = {}
        self._reasons: dict[int, str] = {}
        self._unreadable: str | None = None
        self._absent: tuple[int, ...] = ()
        self._is_starting = False
        self._labels: dict[str, int] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    # === Life ===

    def start(self) -> None:
        """Loads the present versions and starts polling.

        Raises:
          UserError: no version can be loaded.
        """
        self._is_starting = True
        self.poll()
        self._is_starting = False
        told = [reason for _, reason in sorted(self._reasons.items(), reverse=True)]
        if not self.is_ready():
            if self._unreadable is not None:
                told = [self._unreadable]
            raise UserError(
                f"{self.name}: no version can be loaded ({'; '.join(told) or 'none is there'})"
            )
        for reason in told:
            LOG.warning("%s: %s", self.name, reason)
        self._thread = threading.Thread(target=self._keep_polling, name="model-store", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 0.0) -> None:
        """Ends the polling, then unloads every version, each when its leases are back.

        Args:
          drain_s: how long to wait for leases. A version that is being loaded is waited for as long
            and `THREAD_STOP_TIMEOUT_S` more, then left to its thread.
        """
        self._stopping = True
        self._wake.set()
        end_s = time.monotonic() + drain_s
        if self._thread is not None:
            self._thread.join(drain_s + THREAD_STOP_TIMEOUT_S)
        for number in list(self._entries):
            self._retire(number)
        while True:
            self._wake.clear()
            self.unload_unleased()
            left_s = end_s - time.monotonic()
            if not self._retired or left_s <= 0:
                return
            self._wake.wait(left_s)

    def _keep_polling(self) -> None:
        due_s = time.monotonic() + self._poll_s
        while True:
            self._wake.wait(max(0.0, due_s - time.monotonic()))
            self._wake.clear()
            if self._stopping:
                return
            try:
                self.unload_unleased()
                if time.monotonic() >= due_s:
                    self.poll()
                    due_s = time.monotonic() + self._poll_s
            except Exception:
                LOG.exception("looking for versions of %s failed", self.name)

    # === Looking ===

    def poll(self) -> None:
        """Loads new versions and unloads unwanted ones. Call it from one thread only."""
        try:
            found = self._source.find_versions()
        except (OSError, UserError) as error:
            self._note_unreadable(str(error))
            return
        if self._unreadable is not None:
            self._unreadable = None
            LOG.warning("%s: its folder can be read again", self.name)
        self._note_absent(found.missing_versions)
        wanted = self._load_wanted(found)
        self._move_labels(found.labels)
        with self._lock:
            unwanted = [number for number in self._entries if number not in wanted]
        for number in unwanted:
            self._retire(number)
        self._move_labels(found.labels)  # none is left to a version that is gone
        self.unload_unleased()

    def _note_unreadable(self, reason: str) -> None:
        """Warns once, not at every poll; during the start the caller gets the error instead."""
        if reason != self._unreadable and not self._is_starting:
            LOG.warning("%s: keeps its versions, its folder cannot be read (%s)", self.name, reason)
        self._unreadable = reason

    def _note_absent(self, numbers: tuple[int, ...]) -> None:
        """Says once which versions are asked for and not there; as TensorFlow Serving goes on."""
        if numbers and numbers != self._absent:
            told = ", ".join(map(str, numbers))
            LOG.warning(
                "%s: models.config asks for version %s, which is not there", self.name, told
            )
        self._absent = numbers

    def _load_wanted(self, found: FoundVersions) -> set[int]:
        """Newest first, as many as can be loaded of those that are to be served."""
        num_latest = len(found.versions) if found.num_latest is None else found.num_latest
        self._failed = {n: mark for n, mark in self._failed.items() if n in found.versions}
        self._reasons = {n: reason for n, reason in self._reasons.items() if n in self._failed}
        wanted: set[int] = set()
        for number in sorted(found.versions, reverse=True):
            if len(wanted) == num_latest:
                break
            if number in self._entries or self._try(number, found.versions[number]):
                wanted.add(number)
        return wanted

    def _try(self, number: int, folder: Path) -> bool:
        """Loads a version unless it failed before and its files have not changed since."""
        mark = _mark(folder)
        if number in self._failed and self._failed[number] == mark:
            return False
        self._tell(VersionStatus(number, LOADING))
        try:
            loaded = self._load(folder)
            loaded.warm_up()
        except Exception as error:
            if not isinstance(error, UserError):
                LOG.exception("version %d of %s failed to load", number, self.name)
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            # Clients are not told where the folder lies.
            message = first.replace(f"{folder}/", f"version {number}, ")
            message = message.replace(str(folder), f"version {number}")
            reason = first if str(folder) in first else f"{folder}: {first}"
            self._failed[number], self._reasons[number] = mark, reason
            self._tell(VersionStatus(number, END, "UNKNOWN", message))
            if not self._is_starting:
                LOG.warning("%s: %s", self.name, reason)
            return False
        self._failed.pop(number, None)
        self._reasons.pop(number, None)
        with self._lock:
            is_late = self._stopping
            if not is_late:
                self._entries[number] = _Entry(loaded)
        if is_late:  # nobody would unload it
            loaded.close()
            return False
        self._tell(VersionStatus(number, AVAILABLE))
        self.on_change(loaded, True)
        return True

    def _move_labels(self, labels: dict[str, int]) -> None:
        """Moves each label once its new version is available; until then it stays."""
        with self._lock:
            kept = {}
            for label, number in labels.items():
                there = number if number in self._entries else self._labels.get(label, number)
                if there in self._entries:
                    kept[label] = there
            self._labels = kept

    def _retire(self, number: int) -> None:
        with self._lock:
            entry = self._entries.pop(number)
            self._retired.append(entry)
        self._tell(VersionStatus(number, UNLOADING))

    def unload_unleased(self) -> None:
        """Closes the retired versions of which no lease is left. Called by the polling thread."""
        with self._lock:
            returned = [entry for entry in self._retired if entry.num_leases == 0]
            self._retired = [entry for entry in self._retired if entry.num_leases]
        for entry in returned:
            number = entry.loaded.number
            try:
                self.on_change(entry.loaded, False)
                entry.loaded.close()
            except Exception:  # the others still have to go
                LOG.exception("version %d of %s was not closed in order", number, self.name)
            with self._lock:
                is_back = number in self._entries
            if not is_back:
                self._tell(VersionStatus(number, END))

    def _tell(self, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[status.version] = status
            ended = sorted(n for n, s in self._statuses.items() if s.state == END)
            for number in ended[:-MAX_ENDED]:
                del self._statuses[number]

    # === Asking ===

    @contextlib.contextmanager
    def lease(
        self, version: int | None = None, label: str | None = None
    ) -> Iterator[LoadedVersion]:
        """A version that stays in memory until the block ends; the newest when nothing is asked.

        Raises:
          ServingError: NOT_FOUND, INVALID_ARGUMENT for an unknown label; in the words of
            tensorflow/serving, core/basic_manager.cc and model_servers/server_core.cc.
        """
        with self._lock:
            if label is not None:
                version = self._number_of(label, version)
            number = max(self._entries, default=None) if version is None else version
            entry = self._entries.get(number) if number is not None else None
            if entry is None:
                raise not_found(self.name, version)
            entry.num_leases += 1
        try:
            yield entry.loaded
        finally:
            with self._lock:
                entry.num_leases -= 1
                is_last = entry.num_leases == 0 and entry in self._retired
            if is_last:
                self._wake.set()

    def _number_of(self, label: str, version: int | None) -> int:
        if version is not None:
            raise invalid("version and version label cannot be asked for together")
        if label not in self._labels:
            raise unknown_label(label)
        return self._labels[label]

    def statuses(self) -> list[VersionStatus]:
        """Of every version seen, newest first."""
        with self._lock:
            return sorted(self._statuses.values(), key=lambda s: s.version, reverse=True)

    def labels(self) -> dict[str, int]:
        """Label -> version that answers to it."""
        with self._lock:
            return dict(self._labels)

    def is_ready(self) -> bool:
        """Whether some version answers."""
        with self._lock:
            return bool(self._entries) and not self._stopping


def not_found(name: str, version: int | None) -> ServingError:
    """As ServableRequest::DebugString says it (tensorflow/serving, core/manager.h)."""
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")


def unknown_label(label: str) -> ServingError:
    """As tensorflow/serving, model_servers/server_core.cc."""
    return invalid(f"Unrecognized servable version label: {label[:64]}")


def _mark(folder: Path) -> object:
    """A value that changes whenever a file of the version changes."""
    with contextlib.suppress(OSError):
        return file_stats(folder.resolve())
    return None
