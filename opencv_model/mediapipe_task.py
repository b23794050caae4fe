"""Shared code for MediaPipe Tasks: import without messages, and safe closing."""

from __future__ import annotations

import atexit
import importlib
import sys
import weakref
from collections.abc import Callable
from typing import Any

from affectstream.core.errors import UserError
from affectstream.core.tf_setup import suppress_native_stderr

# MediaPipe warns once of unaligned memory, at random at the first or second picture. Six pictures
# of different sizes while its logs are suppressed use that warning up.
WARM_UP_SIDES_PX = (64, 96, 128, 200, 256, 320)

_open: dict[int, Any] = {}
_dropped: list[Any] = []


def import_task(module: str, needs: str, remedy: str) -> tuple[Any, Any, Any]:
    """(mediapipe, `mediapipe.tasks.python.vision.MODULE`, its base_options), without TensorFlow.

    MediaPipe looks for TensorFlow only to mark functions for its own documentation; that would
    cost every worker 7 s and 400 MB.

    Args:
      needs: who needs it, and the verb, for the message.
      remedy: what to do where it cannot be imported.
    Raises:
      UserError: it is not installed, or lacks a system library.
    """
    is_loaded = "tensorflow" in sys.modules
    if not is_loaded:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        mediapipe = importlib.import_module("mediapipe")
        base_options = importlib.import_module("mediapipe.tasks.python.core.base_options")
        vision = importlib.import_module(f"mediapipe.tasks.python.vision.{module}")
    except (ImportError, OSError) as error:
        raise UserError(f"{needs} MediaPipe ({error}); {remedy}") from error
    finally:
        if not is_loaded:
            del sys.modules["tensorflow"]
    return mediapipe, vision, base_options


class MediaPipeTask:
    """Holds an open task of MediaPipe and sees to it that it is closed once.

    A task that its owner only drops is closed when the next one opens or the interpreter ends,
    never by the collector of garbage: that may come while MediaPipe itself holds a lock which
    closing waits for.
    """

    def __init__(self, create: Callable[[], Any]) -> None:
        for task in [*_dropped]:
            _close(task)
        _dropped.clear()
        self.task = create()
        _open[id(self.task)] = self.task
        self._finalizer = weakref.finalize(self, _dropped.append, self.task)
        self._finalizer.atexit = False

    def close(self) -> None:
        """Closes the task; a second call does nothing."""
        if self._finalizer.detach() is not None:
            _close(self.task)


def _close(task: Any) -> None:
    if _open.pop(id(task), None) is None:
        return
    with suppress_native_stderr():
        try:
            task.close()
        except RuntimeError:
            # The interpreter is ending and MediaPipe's thread is gone: the system frees the rest,
            # and without its handle the task does not try again.
            task._handle = None


def _close_all() -> None:
    for task in [*_open.values()]:
        _close(task)


atexit.register(_close_all)
