"""The facade used by REST, gRPC and the analysis."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from affectstream.server.errors import ServingError
from affectstream.server.limits import THREAD_STOP_TIMEOUT_S, ServerLimits
from affectstream.server.metrics import Metrics
from affectstream.server.versions.arrays import Arrays
from affectstream.server.versions.batching import Batcher, deadline_error, unknown_signature
from affectstream.server.versions.loaded_version import LoadedVersion
from affectstream.server.versions.model_store import (
    AVAILABLE,
    ModelStore,
    VersionStatus,
    not_found,
    unknown_label,
)
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE


@dataclass(frozen=True)
class PredictResult:
    """Version, signature and outputs, (rows, ...) each, of one prediction."""

    version: int
    signature: str
    outputs: Arrays


@dataclass(frozen=True)
class Metadata:
    """Metadata of one version: signature -> SignatureDef."""

    number: int
    signature_defs: Mapping[str, Any]


class ModelServer:
    """Serves the one model of a store; all methods are thread-safe.

    Args:
      store: store of the versions; started before or afterwards.
      limits: limits of batches and waits.
      metrics: metrics of the server.
    """

    def __init__(self, store: ModelStore, limits: ServerLimits, metrics: Metrics) -> None:
        self.store = store
        self.limits = limits
        self.metrics = metrics
        metrics.model_name = store.name
        self._batchers: dict[LoadedVersion, Batcher] = {}
        self._lock = threading.Lock()
        self._is_closing = False
        store.on_change = self._on_version_change

    def _on_version_change(self, loaded: LoadedVersion, answers: bool) -> None:
        if answers:
            self.metrics.set_version_available(loaded.number, True)
            return
        states = {status.version: status.state for status in self.store.statuses()}
        if states.get(loaded.number) != AVAILABLE:  # otherwise the folder was removed and restored
            self.metrics.set_version_available(loaded.number, False)
        with self._lock:
            batcher = self._batchers.pop(loaded, None)
        if batcher is not None:
            batcher.close(THREAD_STOP_TIMEOUT_S if self._is_closing else None)

    def _batcher(self, loaded: LoadedVersion) -> Batcher:
        with self._lock:
            if loaded not in self._batchers:
                self._batchers[loaded] = Batcher(
                    loaded.run, loaded.signatures, self.limits, self.metrics
                )
            return self._batchers[loaded]

    # === Predictions ===

    @contextlib.contextmanager
    def lease_version(
        self, name: str, version: int | None, label: str | None
    ) -> Iterator[LoadedVersion]:
        """Leases the requested version, which stays in memory until the block ends.

        Raises:
          ServingError: unknown name, version or label.
        """
        self._check_open()
        self._check_name(name, version, label)
        with self.store.lease(version, label) as loaded:
            yield loaded

    @contextlib.contextmanager
    def lease_signature(
        self, name: str, version: int | None, label: str | None, signature: str
    ) -> Iterator[tuple[LoadedVersion, str]]:
        """Leases the requested version and signature, which stay in memory until the block ends.

        Parse the request with `loaded.signatures[signature]`, then `run` it within the block: both
        then use one version, even if another replaces it.

        Raises:
          ServingError: unknown name, version, label or signature.
        """
        with self.lease_version(name, version, label) as loaded:
            chosen = signature or DEFAULT_SIGNATURE
            if chosen not in loaded.signatures:
                raise unknown_signature(chosen)
            yield loaded, chosen

    def run(
        self,
        loaded: LoadedVersion,
        signature: str,
        inputs: Arrays,
        timeout_s: float | None = None,
    ) -> PredictResult:
        """Runs one prediction on a lease of `lease_signature`; blocks until it is done.

        Args:
          timeout_s: at most `limits.request_timeout_s`; None uses that.
        Raises:
          ServingError: with TensorFlow Serving's code and text.
        """
        wait_s = self.limits.request_timeout_s
        if timeout_s is not None:
            wait_s = min(wait_s, timeout_s)
        answer = self._batcher(loaded).submit(signature, inputs, wait_s)
        try:
            return PredictResult(loaded.number, signature, answer.result(wait_s))
        except concurrent.futures.TimeoutError as error:
            answer.cancel()
            self.metrics.count_rejection("deadline")
            raise deadline_error() from error

    @contextlib.contextmanager
    def lease_newest(self) -> Iterator[tuple[dict[str, Any], Callable[[Arrays], Arrays]]]:
        """Leases the config and `serving_default` of the newest version.

        The config also contains its `vocabulary`.

        Raises:
          ServingError: no version is available, or the server is stopping.
        """
        with self.lease_signature(self.store.name, None, None, DEFAULT_SIGNATURE) as (
            loaded,
            signature,
        ):
            config = {**loaded.config, "vocabulary": list(loaded.vocabulary)}
            yield config, lambda inputs: self.run(loaded, signature, inputs).outputs

    # === About the model ===

    def metadata(self, name: str, version: int | None, label: str | None) -> Metadata:
        """Signatures of a version.

        Raises:
          ServingError: unknown name, version or label.
        """
        self._check_name(name, version, label)
        with self.store.lease(version, label) as loaded:
            return Metadata(loaded.number, loaded.signature_defs)

    def statuses(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """Statuses of one version, or of all, newest first.

        Raises:
          ServingError: unknown name, version or label, with the text of tensorflow/serving,
            model_servers/get_model_status_impl.cc.
        """
        if label is not None and name == self.store.name:
            labels = self.store.labels()
            if label not in labels:
                raise unknown_label(label)
            version = labels[label]
        matching = self.store.statuses() if name == self.store.name else []
        if version is not None:
            matching = [status for status in matching if status.version == version]
        if matching:
            return matching
        wanted = "any versions" if version is None else f"version {version}"
        message = f"Could not find {wanted} of model {name[:64]}"
        raise ServingError(grpc.StatusCode.NOT_FOUND, message)

    def config(self) -> dict[str, Any]:
        """`assets/config.json` of the newest version."""
        with self.store.lease() as loaded:
            return loaded.config

    def _check_name(self, name: str, version: int | None, label: str | None) -> None:
        if name == self.store.name:
            return
        if label is not None:
            raise unknown_label(label)
        raise not_found(name[:64], version)

    def _check_open(self) -> None:
        if self._is_closing:
            self.metrics.count_rejection("unavailable")
            raise ServingError(grpc.StatusCode.UNAVAILABLE, "the server is stopping")

    # === End ===

    def close(self, drain_s: float | None = None) -> None:
        """Rejects new requests, answers queued ones, unloads the versions.

        Args:
          drain_s: time limit; None uses `limits.drain_s`.
        """
        self._is_closing = True
        self.store.stop(self.limits.drain_s if drain_s is None else drain_s)
