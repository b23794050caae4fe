"""A worker process that yields items to this process; its crash does not end the program."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

from affectstream.core.errors import UserError
from affectstream.parallel import resource_limits
from affectstream.parallel.tasks import TaskLimits

# Called by name in the other process; what it yields must be small enough to travel.
GeneratorFunction = Callable[..., Iterator[Any]]

_SPAWN = multiprocessing.get_context("spawn")
# Time that a process has to end, or to stop abandoned work, before it is killed.
_END_S = 2.0
_PIECE, _ERROR, _BROKEN, _END = range(4)


class WorkerDiedError(Exception):
    """The process ended in the middle of its work; the message says why."""


class IsolatedWorker:
    """A process that starts immediately, so that its imports run in parallel with this process.

    It is one piece ahead at most: memory does not grow with the number of pieces. Where it died
    another one takes its place at the next call.

    Args:
      limits: of the process; a step is what it takes to yield one piece.
      works: what it will be asked for; their modules are imported as it starts.
    """

    def __init__(self, limits: TaskLimits, preload: Sequence[GeneratorFunction] = ()) -> None:
        self._limits = limits
        self._preload = tuple(preload)
        self._start()

    def _start(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_serve, args=(theirs, self._limits, self._preload), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        """Process id of the current worker; a restarted worker has another."""
        return self._process.pid

    def __enter__(self) -> IsolatedWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def __call__(self, work: GeneratorFunction, *given: Any) -> Iterator[Any]:
        """Yields what `work(*given)` yields over there; work that is given up is stopped there.

        Raises:
          WorkerDiedError: the process ended, by a crash or because a step took more than it may.
          UserError: as the work raised it.
          RuntimeError: the work raised anything else; holds its traceback.
        """
        if not self._process.is_alive():
            self._pipe.close()
            self._start()
        self._send((work, given))
        try:
            while True:
                kind, value = self._received()
                if kind == _END:
                    return
                if kind == _ERROR:
                    raise value
                if kind == _BROKEN:
                    raise RuntimeError(value)
                yield value
        except GeneratorExit:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Stops the current work of the process, so that it can accept other work."""
        with contextlib.suppress(WorkerDiedError, OSError):  # closed meanwhile
            self._send(None)
            while self._pipe.poll(_END_S):
                if self._received()[0] != _PIECE:
                    return
        self._process.kill()
        self._process.join()

    def _send(self, message: Any) -> None:
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise self._death() from error

    def _received(self) -> tuple[int, Any]:
        try:
            while not self._pipe.poll(resource_limits.CHECK_INTERVAL_S):
                self._look()
            kind, value = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise self._death() from error
        return kind, value

    def _look(self) -> None:
        """Ends a process whose own guard cannot look, since a call into C holds its interpreter."""
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            if resource_limits.resident_bytes(self.pid or 0) > self._limits.memory_bytes:
                self._process.kill()
                self._process.join()
                raise WorkerDiedError(
                    resource_limits.describe_exit(resource_limits.EXIT_MEMORY_LIMIT, self._limits)
                )

    def _death(self) -> WorkerDiedError:
        self._process.join(_END_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        return WorkerDiedError(resource_limits.describe_exit(self._process.exitcode, self._limits))


# === In the process ===


def _serve(pipe: Any, limits: TaskLimits, _preload: tuple[GeneratorFunction, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource_limits.die_with_parent()
    resource_limits.enforce_limits(limits)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            asked = pipe.recv()
            if asked is not None:  # else given up when it was just done
                _work(pipe, limits, *asked)


def _work(pipe: Any, limits: TaskLimits, work: GeneratorFunction, given: tuple[Any, ...]) -> None:
    try:
        with contextlib.closing(work(*given)) as pieces:  # type: ignore[type-var]
            for piece in _guarded(pieces, limits):
                if pipe.poll():
                    pipe.recv()
                    break
                pipe.send((_PIECE, piece))
        pipe.send((_END, None))
    except UserError as error:
        pipe.send((_ERROR, error))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception:
        pipe.send((_BROKEN, traceback.format_exc()))


def _guarded(pieces: Iterator[Any], limits: TaskLimits) -> Iterator[Any]:
    """Each piece is a step; handing it over is none, for that may wait for the other side."""
    while True:
        resource_limits.begin_step(limits)
        try:
            piece = next(pieces)
        except StopIteration:
            return
        finally:
            resource_limits.end_step()
        yield piece
