"""A child process: bounded from outside whatever it does, and nothing of it is left."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest

from affectstream.parallel import messages
from affectstream.parallel.child_process import ChildProcess
from affectstream.parallel.tasks import TaskLimits

LENGTH = 100_000


def idle(channel: Connection, limits: TaskLimits) -> None:
    """Reads nothing."""
    time.sleep(120)


def stalling(channel: Connection, limits: TaskLimits) -> None:
    """Begins a message and does not end it."""
    os.write(channel.fileno(), struct.pack("!i", LENGTH))
    time.sleep(120)


def dripping(channel: Connection, limits: TaskLimits) -> None:
    """A message that comes too slowly."""
    os.write(channel.fileno(), struct.pack("!i", LENGTH))
    for _ in range(LENGTH):
        os.write(channel.fileno(), b"x")
        time.sleep(0.005)


def signals(channel: Connection, limits: TaskLimits) -> None:
    """Kills itself, as it is asked to."""
    os.kill(os.getpid(), channel.recv())
    channel.send("alive")
    time.sleep(120)


def receive(channel: Connection) -> Any:
    return messages.receive(channel)


def send_much(channel: Connection) -> None:
    messages.send(channel, "outputs", arrays={"x": np.zeros(20_000_000, np.uint8)})


@pytest.mark.parametrize(
    ("main", "act"),
    [(idle, receive), (stalling, receive), (dripping, receive), (idle, send_much)],
)
def test_what_takes_too_long_is_killed(
    main: Callable[..., None], act: Callable[[Connection], Any]
) -> None:
    child = ChildProcess(main, TaskLimits())
    with contextlib.closing(child):
        began_s = time.monotonic()
        with pytest.raises(EOFError), child.killed_when(lambda: time.monotonic() - began_s > 0.5):
            act(child.channel)
        assert 0.5 < time.monotonic() - began_s < 60  # it would be idle for 120 s
        assert not child.is_alive
        assert child.resident_bytes == 0


def test_what_ends_in_time_lives_on() -> None:
    with contextlib.closing(ChildProcess(signals, TaskLimits())) as child:
        began_s = time.monotonic()
        with child.killed_when(lambda: time.monotonic() - began_s > 60):
            child.channel.send(signal.SIGINT)  # Ctrl-C is for the parent
            assert child.channel.recv() == "alive"
        assert child.is_alive
        assert child.resident_bytes > 2**20


def test_why_it_died() -> None:
    with contextlib.closing(ChildProcess(signals, TaskLimits())) as child:
        child.channel.send(signal.SIGSEGV)
        with pytest.raises((EOFError, OSError)):
            child.channel.recv()
        assert child.exit_reason() == "ended its process by SIGSEGV"


def test_a_failing_start_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Connection] = []
    context = multiprocessing.get_context("spawn")
    pipe = context.Pipe

    def kept() -> tuple[Connection, Connection]:
        made.extend(pipe())
        return made[0], made[1]

    def fails(self: object) -> None:
        raise RuntimeError("no process")

    monkeypatch.setattr(context, "Pipe", kept)
    monkeypatch.setattr(context.Process, "start", fails)
    with pytest.raises(RuntimeError, match="no process"):
        ChildProcess(idle, TaskLimits())
    assert [one.closed for one in made] == [True, True]
