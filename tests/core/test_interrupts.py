"""Ctrl-C ends a command wherever it comes, also where Python cannot raise it."""

from __future__ import annotations

import subprocess
import sys

from affectstream.core.errors import EXIT_INTERRUPTED, EXIT_OK
from tests import ROOT
from tests.support.models import error_line

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


def ran(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def test_an_interrupt_during_garbage_collection_is_not_lost() -> None:
    done = ran(_COLLECTED)
    assert done.stdout == "collected\n", done.stderr  # Python did drop it where it came
    assert done.returncode == EXIT_INTERRUPTED
    assert error_line(done.stderr).startswith("Error: interrupted; what was finished")
    assert "Exception ignored" not in done.stderr


def test_other_dropped_errors_are_still_told() -> None:
    done = ran(_FAILED)
    assert done.returncode == EXIT_OK
    assert "a file was not closed" in done.stderr
