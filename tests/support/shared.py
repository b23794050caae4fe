"""What is made once for all tests, also where several processes share the tests out."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of this test session.

    Each worker of pytest-xdist has a temporary folder of its own inside the session's.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to ask for it makes; the others wait and take it as it is.

    Tests only read it: another process may read it at the same moment. A test that writes takes
    a copy.

    Args:
      name: of the folder, the same in all processes.
      make: writes the folder that it is given, which does not exist yet.
    """
    folder = shared_folder(factory) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    finished = folder.with_name(f"{folder.name}.finished")
    with open(folder.with_name(f"{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed half-way
            make(folder)
            finished.touch()
    return folder
