"""Faulty recognizers for worker tests: the name of the recording chooses the fault.

It imports little, since each worker that a test kills is followed by a fresh one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core.errors import MediaError, UserError
from affectstream.parallel import messages
from affectstream.server.analysis.analysis_options import AnalysisOptions

FAULTY_RECOGNIZER = "tests.support.odd_recognizers:FaultyRecognizer"
BROKEN = "tests.support.odd_recognizers:broken"
_kept: list[bytes] = []


class FakePrediction:
    """Stands for a `Prediction`."""

    def __init__(self, **told: Any) -> None:
        self._told = told

    def as_json(self) -> dict[str, Any]:
        return self._told


class _Bomb:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._path,)


def broken(*_: object) -> None:
    raise UserError("yunet: no weights; fetch them")


class FaultyRecognizer:
    """Does what the first word of the file names."""

    def __init__(self, forward: Callable[[Any], Any], config: Any, weights_dir: Any) -> None:
        self._forward = forward

    def __call__(self, path: str, options: Any, name: str, on_progress: Any) -> FakePrediction:
        data = Path(path).read_bytes()
        words = data[:100].decode("latin-1").split()
        file, folder = Path(path).stat(), Path(path).parent.stat()
        about = FakePrediction(
            process=os.getpid(),
            limits={
                bound: resource.getrlimit(getattr(resource, f"RLIMIT_{bound}"))[0]
                for bound in ("DATA", "CORE", "FSIZE", "NOFILE")
            },
            path=name,
            options={key: getattr(options, key) for key in AnalysisOptions.__dataclass_fields__},
            num_bytes=len(data),
            at=path,
            modes=[stat.S_IMODE(file.st_mode), stat.S_IMODE(folder.st_mode)],
        )
        return getattr(self, f"do_{words[0]}")(path, on_progress, *words[1:]) or about

    def do_answer(self, path: str, on_progress: Any, *rest: str) -> None:
        """Tells about itself."""

    def do_signal(self, path: str, on_progress: Any, number: str) -> None:
        os.kill(os.getpid(), int(number))

    def do_exit(self, path: str, on_progress: Any) -> None:
        os._exit(3)

    def do_hang(self, path: str, on_progress: Any) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
        time.sleep(120)

    def do_allocate(self, path: str, on_progress: Any, megabytes: str) -> None:
        bytearray(int(megabytes) << 20)

    def do_keep(self, path: str, on_progress: Any, megabytes: str) -> None:
        _kept.append(os.urandom(1 << 20) * int(megabytes))

    def do_write(self, path: str, on_progress: Any) -> None:
        try:
            (Path(path).parent / "more").write_bytes(bytes(3 << 20))
        except OSError as error:
            raise MediaError(f"{path}: {error.strerror}") from error

    def do_fail(self, path: str, on_progress: Any) -> None:
        raise ValueError(f"secret of {path}")

    def do_refuse(self, path: str, on_progress: Any) -> None:
        raise MediaError(f"{path}: no sound in it; use another")

    def do_misuse(self, path: str, on_progress: Any) -> None:
        raise UserError("the model knows audio only, no words; leave them out")

    def do_forward(self, path: str, on_progress: Any) -> FakePrediction:
        outputs = self._forward({"x": np.array([3], np.int32)})
        return FakePrediction(**{name: value.tolist() for name, value in outputs.items()})

    def predict_text(self, text: str, name: str) -> FakePrediction:
        """Words alone."""
        if text == "none":
            raise MediaError(f"{name}: words, and the model knows audio only; use another")
        return FakePrediction(path=name, words=text)

    # === A worker that someone else has got hold of ===

    @property
    def _channel(self) -> Connection:
        cells = [cell.cell_contents for cell in getattr(self._forward, "__closure__", ())]
        return next(content for content in cells if isinstance(content, Connection))

    def _write(self, data: bytes) -> None:
        """Past all framing."""
        os.write(self._channel.fileno(), data)

    def do_pickle(self, path: str, on_progress: Any) -> None:
        """Would make a folder in whoever unpickles it."""
        self._channel.send(_Bomb(str(Path(path).parent / "made")))
        time.sleep(120)

    def do_stall(self, path: str, on_progress: Any) -> None:
        """Begins a message and does not end it."""
        self._write(struct.pack("!i", 1 << 20))
        while True:
            time.sleep(0.02)
            self._write(b"x")

    def do_claim(self, path: str, on_progress: Any) -> None:
        self._write(struct.pack("!iQ", -1, 1 << 40))
        time.sleep(120)

    def do_say(self, path: str, on_progress: Any, kind: str, told: str) -> None:
        messages.send(self._channel, kind, json.loads(told))
        time.sleep(120)

    def do_open(
        self, path: str, on_progress: Any, duration_s: str, then: str
    ) -> FakePrediction | None:
        from affectstream.serving.inference.progress_events import FileOpened

        on_progress(FileOpened(float(duration_s), True, True, None))
        return getattr(self, f"do_{then}")(path, on_progress)
