"""The process that decodes recordings: limited, killable, and without TensorFlow.

Crashes, hangs and excessive memory use of decoders end this process, not the server. The model
runs in the server: window inputs are sent there over a pipe, and the outputs are sent back.

Messages to the server (`parallel.messages`): "ready" or "broken" {line}; then for each job "event"
{the event} and "forward" with arrays, and one of "done" {result}, "refused" {status, line},
"failed" {line}. Messages of the server: "job" {path or null, name, options, vocabulary}, "outputs"
with arrays, "no outputs".
"""

from __future__ import annotations

import importlib
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectstream.core.errors import MediaError, UserError
from affectstream.parallel import messages, resource_limits
from affectstream.parallel.messages import MessageError, MessageTooLongError
from affectstream.parallel.tasks import TaskLimits

if TYPE_CHECKING:
    from affectstream.serving.inference.known_words import KnownWords
    from affectstream.serving.inference.progress_events import FileOpened, WindowsDone

RECOGNIZER_FACTORY = "affectstream.serving.inference.recognizer:Recognizer"
LARGEST_FILE_BYTES = 1 << 20
NUM_OPEN_FILES = 256


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a worker.

    Attributes:
      config: config of the model, `assets/config.json`.
      max_bytes: limit of its memory.
      max_media_s: longest accepted recording.
      max_job_s: the system ends the worker after this time, in case the server has died.
      factory: "module:function" that creates the recognizer from (forward, config, weights_dir).
    """

    config: dict[str, Any]
    weights_dir: Path | None
    max_bytes: int
    max_media_s: float
    max_job_s: float
    factory: str = RECOGNIZER_FACTORY


class MediaTooLongError(MediaError):
    """The recording is longer than the server accepts."""


class NoOutputsError(Exception):
    """The server could not run the model; it has the reason."""


# === The process ===


def main(channel: Connection, limits: TaskLimits, settings: WorkerSettings) -> None:
    """Runs jobs until the other end of the channel is closed; each is a step."""
    try:
        recognizer = _made(settings, channel)
    except UserError as error:
        messages.send(channel, "broken", {"line": str(error)})
        return
    # After the limits: creating it may fetch detector weights into the cache.
    resource_limits.set_resource_limits(settings.max_bytes, LARGEST_FILE_BYTES, NUM_OPEN_FILES)
    messages.send(channel, "ready")
    while True:
        job = messages.receive(channel).body
        resource_limits.begin_step(limits)
        kind, answer = _answer(channel, recognizer, settings, job)
        resource_limits.end_step()
        try:
            messages.send(channel, kind, answer)
        except MessageError as error:
            messages.send(channel, "failed", {"line": f"the answer cannot be sent: {error}"})


def _made(settings: WorkerSettings, channel: Connection) -> Any:
    def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        messages.send(channel, "forward", arrays=inputs)
        answer = messages.receive(channel)
        if answer.kind != "outputs":
            raise NoOutputsError
        return answer.arrays

    module, _, name = settings.factory.partition(":")
    make = getattr(importlib.import_module(module), name)
    return make(forward, settings.config, settings.weights_dir)


# === One job ===


def _answer(
    channel: Connection, recognizer: Any, settings: WorkerSettings, job: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Kind and content of the message that ends a job; raises failures of the channel."""
    from affectstream.serving.inference.predict_options import PredictOptions

    path, name = job["path"], job["name"]
    listener = _ProgressEvents(channel, name, settings.max_media_s)
    # For each job, because a new version of the same kind may have another vocabulary.
    recognizer.known_words = _known_words(job["vocabulary"])
    try:
        if path is None:
            return "done", {
                "result": recognizer.predict_text(job["options"]["text"], name).as_json()
            }
        result = recognizer(path, PredictOptions(**job["options"]), name, listener)
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
    except MessageTooLongError:
        return _refused(422, f"{name}: its windows are too large; choose shorter ones")
    except NoOutputsError:
        return "failed", {"line": "no outputs"}
    except EOFError:
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
    """Turns progress events of the recognizer into events of the stream."""

    def __init__(self, channel: Connection, name: str, max_media_s: float) -> None:
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
        """Draws the rest, and reports that all is done."""
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
            messages.send(self._channel, "event", event)


def _face(window: Any) -> dict[str, Any]:
    """Crop and box of the followed face in the middle one of the frames with a face."""
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
