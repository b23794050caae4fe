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
MAX_ENDED = 100  # ended versions with a status


@dataclass(frozen=True)
class VersionStatus:
    """Fields of ModelVersionStatus (tensorflow/serving, apis/get_model_status.proto).

    Attributes:
      state: LOADING, AVAILABLE, UNLOADING or END; START is not used.
      code: "OK", or the gRPC code name of the load error.
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
    """Keeps the versions that its source lists in memory.

    A thread polls every `poll_s` seconds. It loads and warms up a new version while the others
    serve. It unloads an unwanted version after its last lease is returned. A version that fails
    keeps its reason and is tried again when its folder changes.

    Args:
      source: see `open_source`.
      load: maps the folder of a version to the version; may be slow, called from one thread.
      poll_s: seconds between two polls.

    Attributes:
      name: of the model.
      on_change: called from the polling thread with a version and whether it is available: True
        once it serves, False after its last lease, before it is closed.
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

    # === Life cycle ===

    def start(self) -> None:
        """Loads the present versions and starts polling.

        Raises:
          UserError: no version can be loaded.
        """
        self._is_starting = True
        self.poll()
        self._is_starting = False
        reasons = [reason for _, reason in sorted(self._reasons.items(), reverse=True)]
        if not self.is_ready():
            if self._unreadable is not None:
                reasons = [self._unreadable]
            raise UserError(
                f"{self.name}: no version can be loaded ({'; '.join(reasons) or 'none is there'})"
            )
        for reason in reasons:
            LOG.warning("%s: %s", self.name, reason)
        self._thread = threading.Thread(target=self._keep_polling, name="model-store", daemon=True)
        self._thread.start()

    def stop(self, drain_s: float = 0.0) -> None:
        """Ends the polling, then unloads every version after its leases are returned.

        Args:
          drain_s: how long to wait for leases. A version that is being loaded gets the same time
            and `THREAD_STOP_TIMEOUT_S` more; then its thread is abandoned.
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

    # === Polling ===

    def poll(self) -> None:
        """Loads new versions and unloads unwanted ones. Call it from one thread only."""
        try:
            listing = self._source.find_versions()
        except (OSError, UserError) as error:
            self._note_unreadable(str(error))
            return
        if self._unreadable is not None:
            self._unreadable = None
            LOG.warning("%s: its folder can be read again", self.name)
        self._note_absent(listing.missing_versions)
        wanted = self._load_wanted(listing)
        self._move_labels(listing.labels)
        with self._lock:
            unwanted = [number for number in self._entries if number not in wanted]
        for number in unwanted:
            self._retire(number)
        self._move_labels(listing.labels)  # no label may refer to an unloaded version
        self.unload_unleased()

    def _note_unreadable(self, reason: str) -> None:
        """Warns once, not at every poll; during the start the caller gets the error."""
        if reason != self._unreadable and not self._is_starting:
            LOG.warning("%s: keeps its versions, its folder cannot be read (%s)", self.name, reason)
        self._unreadable = reason

    def _note_absent(self, numbers: tuple[int, ...]) -> None:
        """Warns once of requested versions that do not exist, as TensorFlow Serving does."""
        if numbers and numbers != self._absent:
            listed = ", ".join(map(str, numbers))
            LOG.warning(
                "%s: models.config asks for version %s, which is not there", self.name, listed
            )
        self._absent = numbers

    def _load_wanted(self, listing: FoundVersions) -> set[int]:
        """Loads the wanted versions, newest first, as many as possible."""
        num_latest = len(listing.versions) if listing.num_latest is None else listing.num_latest
        self._failed = {n: mark for n, mark in self._failed.items() if n in listing.versions}
        self._reasons = {n: reason for n, reason in self._reasons.items() if n in self._failed}
        wanted: set[int] = set()
        for number in sorted(listing.versions, reverse=True):
            if len(wanted) == num_latest:
                break
            if number in self._entries or self._try(number, listing.versions[number]):
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
            # The folder's path is not shown to clients.
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
        if is_late:  # nothing else would unload it
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
                target = number if number in self._entries else self._labels.get(label, number)
                if target in self._entries:
                    kept[label] = target
            self._labels = kept

    def _retire(self, number: int) -> None:
        with self._lock:
            entry = self._entries.pop(number)
            self._retired.append(entry)
        self._tell(VersionStatus(number, UNLOADING))

    def unload_unleased(self) -> None:
        """Closes the retired versions without leases. Called by the polling thread."""
        with self._lock:
            returned = [entry for entry in self._retired if entry.num_leases == 0]
            self._retired = [entry for entry in self._retired if entry.num_leases]
        for entry in returned:
            number = entry.loaded.number
            try:
                self.on_change(entry.loaded, False)
                entry.loaded.close()
            except Exception:  # the other versions must still be unloaded
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

    # === Requests ===

    @contextlib.contextmanager
    def lease(
        self, version: int | None = None, label: str | None = None
    ) -> Iterator[LoadedVersion]:
        """Leases a version, which stays in memory until the block ends; the newest by default.

        Raises:
          ServingError: NOT_FOUND, INVALID_ARGUMENT for an unknown label; with the text of
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
        """Statuses of every version seen, newest first."""
        with self._lock:
            return sorted(self._statuses.values(), key=lambda s: s.version, reverse=True)

    def labels(self) -> dict[str, int]:
        """Label -> available version."""
        with self._lock:
            return dict(self._labels)

    def is_ready(self) -> bool:
        """Whether any version is available."""
        with self._lock:
            return bool(self._entries) and not self._stopping


def not_found(name: str, version: int | None) -> ServingError:
    """Error text of ServableRequest::DebugString (tensorflow/serving, core/manager.h)."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request}")


def unknown_label(label: str) -> ServingError:
    """Error text of tensorflow/serving, model_servers/server_core.cc."""
    return invalid(f"Unrecognized servable version label: {label[:64]}")


def _mark(folder: Path) -> object:
    """A value that changes whenever a file of the version changes."""
    with contextlib.suppress(OSError):
        return file_stats(folder.resolve())
    return None
