"""The process in which recordings are parsed: bounded, killable, and without TensorFlow.

Crashes, hangs and excessive memory use of decoders end this process, not the server. The model
runs in the server: the inputs of windows are sent there over a pipe, and the outputs come back.

Messages to the server (`worker_messages`): "ready" {event}, "broken" {line}, "forward" with arrays,
"event" {the event}; then for each job one of "done" {result}, "refused" {status, line}, "failed"
{line}, each with {resident_bytes}. Messages of the server: "job" {path or null, name, options,
vocabulary}, "outputs" with arrays, "no outputs".
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectstream.core.errors import MediaError, UserError
from affectstream.server.analysis import worker_messages
from affectstream.server.analysis.worker_messages import Channel, MessageError

if TYPE_CHECKING:
    from affectstream.serving.inference.known_words import KnownWords
    from affectstream.serving.inference.progress_events import FileOpened, WindowsDone

RECOGNIZER_FACTORY = "affectstream.serving.inference.recognizer:Recognizer"
PARENT_POLL_S = 1.0
LARGEST_FILE_BYTES = 1 << 20
NUM_OPEN_FILES = 256
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerSettings:
    """How a worker is started.

    Attributes:
      config: of the model, `assets/config.json`.
      max_bytes: of memory it may ask for.
      max_media_s: longest recording.
      max_job_s: after which the system ends it, should the server be gone.
      factory: "module:function" that makes the transcriber of (forward, config, weights_dir).
    """

    config: dict[str, Any]
    weights_dir: Path | None
    max_bytes: int
    max_media_s: float
    max_job_s: float
    factory: str = RECOGNIZER_FACTORY


class MediaTooLongError(MediaError):
    """The recording is longer than the server analyses."""


class NoOutputsError(Exception):
    """The server could not run the model; it knows why."""


# === The process ===


def main(end: socket.socket, settings: WorkerSettings, parent_id: int) -> None:
    """Runs jobs until the other end of the socket pair is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent(parent_id)
    channel = Channel(end)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            recognizer = _made(settings, channel)
        except UserError as error:
            channel.send("broken", {"line": str(error)})
            return
        # After that: making it may fetch weights of detectors into the cache.
        set_resource_limits(settings.max_bytes)
        channel.send("ready", describe_process())
        while True:
            job = channel.receive().body
            signal.alarm(int(settings.max_job_s) + 1)
            kind, answer = _answer(channel, recognizer, settings, job)
            signal.alarm(0)
            try:
                channel.send(kind, {**answer, "resident_bytes": resident_bytes()})
            except MessageError as error:
                line = f"the answer cannot be sent: {error}"
                channel.send("failed", {"line": line, "resident_bytes": resident_bytes()})


def describe_process() -> dict[str, Any]:
    """What a worker says of itself."""
    return {
        "process": os.getpid(),
        "tensorflow": "tensorflow" in sys.modules,
        "resident_bytes": resident_bytes(),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
            for name in ("DATA", "CORE", "FSIZE", "NOFILE")
        },
    }


def set_resource_limits(max_bytes: int) -> None:
    """Bounds memory, files and core dumps of this process for good.

    RLIMIT_DATA counts what is allocated; RLIMIT_AS would count what libraries only map as well.
    """
    bounds = {
        resource.RLIMIT_DATA: max_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: LARGEST_FILE_BYTES,
        resource.RLIMIT_NOFILE: NUM_OPEN_FILES,
    }
    for kind, bound in bounds.items():
        most = resource.getrlimit(kind)[1]
        value = bound if most == resource.RLIM_INFINITY else min(bound, most)
        resource.setrlimit(kind, (value, value))


def resident_bytes(process: int | str = "self") -> int:
    """Memory in use by a process; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _die_with_parent(parent_id: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent_id:
            time.sleep(PARENT_POLL_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _made(settings: WorkerSettings, channel: Channel) -> Any:
    def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        channel.send("forward", arrays=inputs)
        answer = channel.receive()
        if answer.kind != "outputs":
            raise NoOutputsError
        return answer.arrays

    module, _, name = settings.factory.partition(":")
    make = getattr(importlib.import_module(module), name)
    return make(forward, settings.config, settings.weights_dir)


# === One job ===


def _answer(
    channel: Channel, recognizer: Any, settings: WorkerSettings, job: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Kind and content of the message that ends a job; a failure of the channel is raised."""
    path, name = job["path"], job["name"]
    listener = _ProgressEvents(channel, name, settings.max_media_s)
    # With each job, since a new version of the same kind may have other words.
    recognizer.known_words = _known_words(job["vocabulary"])
    try:
        if path is None:
            return "done", {
                "result": recognizer.predict_text(job["options"]["text"], name).as_json()
            }
        result = recognizer(path, **job["options"], name=name, on_progress=listener)
        listener.finish()
        return "done", {"result": result.as_json()}
    except MediaTooLongError as error:
        return _refused(413, str(error))
    except MediaError as error:
        return _refused(422, _renamed(error, path, name))
    except UserError as error:
        return _refused(400, _renamed(error, path, name))
    except MemoryError:
        megabytes = settings.max_bytes // 2**20
        return _refused(422, f"{name}: needs more than {megabytes} MiB of memory; shorten it")
    except worker_messages.MessageTooLongError:
        return _refused(422, f"{name}: its windows are too large; choose shorter ones")
    except NoOutputsError:
        return "failed", {"line": "no outputs"}
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        return "failed", {"line": traceback.format_exc()}


def _known_words(vocabulary: list[str]) -> KnownWords | None:
    from affectstream.serving.inference.known_words import KnownWords

    return KnownWords.from_vocabulary(vocabulary)


def _refused(status: int, line: str) -> tuple[str, dict[str, Any]]:
    return "refused", {"status": status, "line": line}


def _renamed(error: UserError, path: str | None, name: str) -> str:
    return str(error) if path is None else str(error).replace(path, name)


class _ProgressEvents:
    """Turns what the transcriber tells into events of the stream."""

    def __init__(self, channel: Channel, name: str, max_media_s: float) -> None:
        self._channel = channel
        self._name = name
        self._max_media_s = max_media_s
        self._sound: Any = None
        self._duration_s = 0.0

    def __call__(self, event: FileOpened | WindowsDone) -> None:
        from affectstream.serving.inference.progress_events import FileOpened

        if isinstance(event, FileOpened):
            self._opened(event)
        else:
            self._answered(event)

    def finish(self) -> None:
        """Draws what is left, and says that all is done."""
        if self._sound is not None:
            self._send(self._sound.finish())
        self._progress(self._duration_s)

    def _opened(self, event: FileOpened) -> None:
        from affectstream.server.analysis import visual_preview

        if event.duration_s > self._max_media_s:
            raise MediaTooLongError(
                f"{self._name}: {event.duration_s:.0f} s long, at most {self._max_media_s:g} s are"
                " analysed; cut it"
            )
        self._duration_s = event.duration_s
        rate_hz = event.sample_rate_hz if event.has_audio else None
        if rate_hz is not None:
            self._sound = visual_preview.SoundPreview(rate_hz)
        self._send(
            {
                "event": "start",
                "duration_s": round(event.duration_s, 3),
                "has_audio": event.has_audio,
                "has_video": event.has_video,
                "sample_rate_hz": rate_hz,
                "spectrogram_top_hz": visual_preview.top_hz(rate_hz)
                if rate_hz is not None
                else None,
            }
        )

    def _answered(self, event: WindowsDone) -> None:
        answers = {(answer.start_s, answer.end_s): answer for answer in event.predictions}
        for window in event.windows:
            if self._sound is not None:
                self._send(self._sound.feed(window.start_s, window.end_s, window.waveform))
            answer = answers.get((window.start_s, window.end_s))
            if answer is not None:
                self._send({"event": "window", **answer.as_json(), **_face(window)})
        self._progress(event.windows[-1].end_s)

    def _progress(self, done_s: float) -> None:
        event = {"done_s": round(done_s, 3), "duration_s": round(self._duration_s, 3)}
        self._send({"event": "progress", **event})

    def _send(self, event: dict[str, Any]) -> None:
        if event:
            self._channel.send("event", event)


def _face(window: Any) -> dict[str, Any]:
    """Crop and box of the followed face in the middle one of the frames that show it."""
    from affectstream.server.analysis import visual_preview

    shown = [frame for frame in window.frames if frame.followed_id in frame.faces]
    if not shown:
        return {"face_jpeg": None, "face_box": None}
    middle = shown[len(shown) // 2]
    face = middle.faces[middle.followed_id]
    box = (face.box.x, face.box.y, face.box.width, face.box.height)
    return {
        "face_jpeg": visual_preview.face_jpeg(face.crop),
        "face_box": [round(float(value), 1) for value in box],
    }
