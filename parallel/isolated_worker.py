"""A worker process that yields items to this process; its crash does not end the program."""

from __future__ import annotations

import contextlib
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from affectstream.core.errors import UserError
from affectstream.parallel import resource_limits
from affectstream.parallel.child_process import EXIT_TIMEOUT_S, ChildProcess
from affectstream.parallel.tasks import TaskLimits

# Called by name in the other process; its values must be small enough to send.
GeneratorFunction = Callable[..., Iterator[Any]]
# Sends a value to the parent; the next step begins afterwards.
Emit = Callable[[Any], None]

_VALUE, _RESULT, _ERROR = range(3)


class WorkerDiedError(Exception):
    """The process died during its work; the message contains the reason."""


class _GivenUpError(Exception):
    """The parent no longer needs the values of the work."""


class IsolatedWorker:
    """A process that starts immediately, so that its imports run in parallel with this process.

    It is at most one value ahead, so memory does not grow with the number of values. A process that
    died is replaced at the next call.

    Args:
      limits: limits of the process; a step yields one value.
      preload: functions to be called later; their modules are imported at the start.
    """

    def __init__(self, limits: TaskLimits, preload: Sequence[Callable[..., Any]] = ()) -> None:
        self._limits = limits
        self._preload = tuple(preload)
        self._child = self._new_child()

    def _new_child(self) -> ChildProcess:
        return ChildProcess(_serve, self._limits, self._preload)

    @property
    def pid(self) -> int:
        """Process id of the current worker; a restarted worker has another."""
        return self._child.pid

    @property
    def channel(self) -> Connection:
        """Readable where `receive` does not wait; a restarted worker has another."""
        return self._child.channel

    def __enter__(self) -> IsolatedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close()

    def __call__(self, work: GeneratorFunction, *args: Any) -> Iterator[Any]:
        """Yields the values of `work(*args)` in the process; abandoned work is stopped there.

        Raises:
          WorkerDiedError: the process crashed, or a step exceeded its limits.
          Exception: raised by the work, see `receive`.
        """
        self.start(_emit_all, self._limits, work, args)
        try:
            while True:
                while not self.channel.poll(resource_limits.CHECK_INTERVAL_S):
                    self._check_memory()
                is_result, value = self.receive()
                if is_result:
                    return
                yield value
        except GeneratorExit:
            self._give_up()
            raise

    def start(self, work: Callable[..., Any], *args: Any) -> None:
        """Starts `work(emit, *args)` in the process; a process that died is replaced first.

        Raises:
          WorkerDiedError: the process died meanwhile.
        """
        if not self._child.is_alive:
            self._child.close()
            self._child = self._new_child()
        try:
            self.channel.send((work, args))
        except OSError as error:
            raise WorkerDiedError(self._child.exit_reason()) from error

    def receive(self) -> tuple[bool, Any]:
        """Waits for the next value or the result: (whether it is the result, value).

        Raises:
          WorkerDiedError: the process crashed, or a step exceeded its limits.
          UserError: raised by the work.
          Exception: any other exception of the work, with its traceback as a note; a RuntimeError
            with that traceback if the exception cannot be sent.
        """
        try:
            kind, value = self.channel.recv()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._child.exit_reason()) from error
        if kind == _ERROR:
            raise value
        return kind == _RESULT, value

    def _check_memory(self) -> None:
        """Ends a process whose own check is blocked by a C call that holds the interpreter lock."""
        if self._child.resident_bytes > self._limits.memory_bytes:
            self._child.kill()
            code = resource_limits.EXIT_MEMORY_LIMIT
            raise WorkerDiedError(resource_limits.describe_exit(code, self._limits))

    def _give_up(self) -> None:
        """Stops the current work of the process, so that it can accept other work."""
        with contextlib.suppress(EOFError, OSError):  # closed meanwhile
            self.channel.send(None)
            while self.channel.poll(EXIT_TIMEOUT_S):
                if self.channel.recv()[0] != _VALUE:
                    return
        self._child.kill()


# === In the process ===


def _serve(channel: Connection, limits: TaskLimits, _preload: tuple[Any, ...]) -> None:
    def emit(value: Any) -> None:
        # Sending a value is not part of a step, because it may wait for the other side.
        resource_limits.end_step()
        if channel.poll():
            channel.recv()
            raise _GivenUpError
        channel.send((_VALUE, value))
        resource_limits.begin_step(limits)

    while True:
        asked = channel.recv()
        if asked is not None:  # otherwise abandoned when it was just done
            work, args = asked
            channel.send(_outcome(emit, work, args))


def _outcome(emit: Emit, work: Callable[..., Any], args: tuple[Any, ...]) -> tuple[int, Any]:
    try:
        return _RESULT, work(emit, *args)
    except _GivenUpError:
        return _RESULT, None
    except Exception as error:
        return _ERROR, _as_sent(error)
    finally:
        resource_limits.end_step()


def _as_sent(error: Exception) -> Exception:
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\n{trace}")
    if not isinstance(error, UserError):
        error.add_note(trace)
    return error


def _emit_all(
    emit: Emit, limits: TaskLimits, work: GeneratorFunction, args: tuple[Any, ...]
) -> None:
    resource_limits.begin_step(limits)
    with contextlib.closing(work(*args)) as values:  # type: ignore[type-var]
        for value in values:
            emit(value)
