"""What all tests share: where real recordings lie, and fresh folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def real_data_folder() -> Path:
    """Folder of real recordings: `EMOTION_DATA`, else `../shared/data` beside the project."""
    return Path(os.environ.get("EMOTION_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = real_data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is absent (set EMOTION_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_models(real_data: Path) -> Path:
    folder = real_data.parent / "models"
    if not folder.is_dir():
        pytest.skip(f"no third-party weights: {folder} is absent")
    return folder
