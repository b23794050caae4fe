"""Ctrl-C ends a command wherever it comes, also where Python cannot raise it."""

from __future__ import annotations

import signal
import subprocess
import sys

from affectstream.core.errors import EXIT_INTERRUPTED, EXIT_OK
from tests import ROOT
from tests.support.models import error_line
from tests.support.processes import sigint_handler

# A command in whose garbage collection a signal comes; it goes on for longer than the test waits.
_COLLECTED = """
import gc, os, signal, sys, time
from affectstream import cli

def interrupted(phase, info):
    gc.callbacks.remove(interrupted)
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        pass

def command(words, **options):
    gc.callbacks.append(interrupted)
    gc.collect()
    print("collected", flush=True)
    time.sleep(300)

cli.cli.main = command
sys.exit(cli.main([]))
"""

# A command that drops an object whose end fails.
_FAILED = """
import sys
from affectstream import cli

class Failing:
    def __del__(self):
        raise ValueError("a file was not closed")

cli.cli.main = lambda words, **options: Failing() and 0
sys.exit(cli.main([]))
"""


# A command that is interrupted and says whether it goes on.
_SENT = """
import os, signal, sys
from affectstream import cli

def command(words, **options):
    os.kill(os.getpid(), signal.SIGINT)
    print("went on", flush=True)

cli.cli.main = command
sys.exit(cli.main([]))
"""


def ran(script: str, sigint: signal.Handlers = signal.SIG_DFL) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process that begins with SIGINT as told."""
    with sigint_handler(sigint):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def test_an_interrupt_during_garbage_collection_is_not_lost() -> None:
    done = ran(_COLLECTED)
    assert done.stdout == "collected\n", done.stderr  # Python did drop it where it came
    assert done.returncode == EXIT_INTERRUPTED
    assert error_line(done.stderr).startswith("Error: interrupted; what was finished")
    assert "Exception ignored" not in done.stderr


def test_an_interrupt_ends_a_command() -> None:
    done = ran(_SENT)
    assert (done.returncode, done.stdout) == (EXIT_INTERRUPTED, "")
    assert error_line(done.stderr).startswith("Error: interrupted; what was finished")


def test_a_command_begun_with_sigint_ignored_goes_on() -> None:
    """As a shell begins what runs in the background (`&`) or behind `nohup`."""
    done = ran(_SENT, signal.SIG_IGN)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_OK, "went on\n", "")


def test_other_dropped_errors_are_still_told() -> None:
    done = ran(_FAILED)
    assert done.returncode == EXIT_OK
    assert "a file was not closed" in done.stderr
