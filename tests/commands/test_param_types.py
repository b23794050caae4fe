"""Options that click alone would let through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from affectstream.core.errors import EXIT_USAGE
from tests.support.factories import tone, write_sound
from tests.support.models import run


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "--poll-s", "nan"),
        ("serve", "--drain-s", "nan"),
        ("serve", "--drain-s", "inf"),
        ("serve", "--max-media-s", "nan"),
        ("predict", "--window-s", "nan"),
        ("predict", "--hop-s", "inf"),
        ("preprocess", "--max-clip-s", "nan"),
    ],
)
def test_what_is_no_number(
    words: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", tmp_path) if words[0] == "serve" else ()
    assert run(*words, *model) == EXIT_USAGE
    assert words[1] in capfd.readouterr().err


@pytest.mark.parametrize(("option", "name"), [("--plot", "a.txt"), ("--annotate", "a.avi")])
def test_outputs_must_end_as_their_format_does(
    option: str, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", "x.wav", option, tmp_path / name) == EXIT_USAGE
    assert f"{name}: must end in ." in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--csv", "--annotate"])
@pytest.mark.parametrize("how", ["itself", "link", "hard link"])
def test_no_output_replaces_an_input(
    option: str, how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = write_sound(tmp_path / "in.wav", tone(0.2), 16_000).rename(tmp_path / "in.mp4")
    before = clip.read_bytes()
    out = clip if how == "itself" else tmp_path / "out.mp4"
    if how == "link":
        out.symlink_to(clip)
    elif how == "hard link":
        os.link(clip, out)
    assert run("predict", clip, "--model", tmp_path, option, out) == EXIT_USAGE
    assert "would replace the input" in capfd.readouterr().err
    assert clip.read_bytes() == before


def test_no_output_replaces_another(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = write_sound(tmp_path / "in.wav", tone(0.2), 16_000)
    words = ("--csv", tmp_path / "a.png", "--plot", tmp_path / "a.png")
    assert run("predict", clip, "--model", tmp_path, *words) == EXIT_USAGE
    assert "would replace what --csv writes" in capfd.readouterr().err
