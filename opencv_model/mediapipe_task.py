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

# MediaPipe warns once of unaligned memory, at random on one of the first images. Six images of
# different sizes, while its logs are suppressed, trigger that warning.
WARM_UP_SIDES_PX = (64, 96, 128, 200, 256, 320)

_open: dict[int, Any] = {}
_dropped: list[Any] = []


def import_task(module: str, needs: str, remedy: str) -> tuple[Any, Any, Any]:
    """(mediapipe, `mediapipe.tasks.python.vision.MODULE`, its base_options), without TensorFlow.

    MediaPipe imports TensorFlow only to mark functions for its own documentation; that would cost
    every worker 7 s and 400 MB.

    Args:
      needs: name of the caller and the verb, for the message.
      remedy: advice if it cannot be imported.
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
    """Holds an open MediaPipe task and closes it exactly once.

    A task without a reference is closed when the next one opens or the interpreter ends. It is
    never closed by the garbage collector, which may run while MediaPipe holds a lock that closing
    waits for.
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
