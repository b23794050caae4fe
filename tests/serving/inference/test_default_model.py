"""Which model answers when none is named: the one in the box, else a run of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from affectstream.commands.options.default_model import default_model, is_text_only
from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.serving.bundled import bundled_models

BOTH = {"audio": {"scores": {"val_uar": 0.618}}, "video": {"scores": {"val_uar": 0.7}}}
BOUND = [{"corpus": "c", "licence": "CC BY-NC-SA 4.0"}]


def write_run(path: Path, **changes: Any) -> None:
    """As much of a run as is told of it."""
    info = {
        "streams": ["text"],
        "scores": {"val_uar": 0.9},
        "stream_info": {},
        "data": [],
        **changes,
    }
    atomic_io.write_json(path / "run.json", info)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without any runs, and an empty box elsewhere."""
    monkeypatch.setattr(bundled_models, "BUNDLED_DIR", tmp_path / "program" / "pretrained")
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path / "user")
    return tmp_path / "program" / "pretrained"


@pytest.mark.parametrize(
    ("files", "text", "expected"),
    [
        ((), "so sad", True),
        (("a.txt", "b.TXT"), None, True),
        (("a.txt", "b.wav"), None, False),
        (("b.mp4",), "so sad", False),
    ],
)
def test_words_alone(files: tuple[str, ...], text: str | None, expected: bool) -> None:
    assert is_text_only([Path(name) for name in files], text) is expected


def test_the_bundled_model_comes_first(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(home / "emotion", streams=["audio", "video"], stream_info=BOTH, scores={}, data=BOUND)
    write_run(home / "text")
    write_run(Path("runs/fusion"))
    assert default_model([Path("a.mp4")]) == home / "emotion"
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "model: pretrained/emotion (audio + video, validation UAR audio 0.62, video 0.70;"
        " non-commercial use only); --model names another\n"
    )
    tested = {
        name: {**part, "evaluation": [{"split": "test", "uar": 0.5}]} for name, part in BOTH.items()
    }
    write_run(
        home / "emotion", streams=["audio", "video"], stream_info=tested, scores={}, data=BOUND
    )
    assert default_model([Path("a.mp4")]) == home / "emotion"
    assert "audio + video, test UAR audio 0.50, video 0.50; non-co" in capsys.readouterr().err
    write_run(
        home / "emotion", streams=["audio", "video"], stream_info=tested | {"video": BOTH["video"]}
    )
    assert default_model([Path("a.mp4")]) == home / "emotion"
    assert "validation UAR audio 0.62, video 0.70" in capsys.readouterr().err, "one was not tested"
    assert default_model([], "so sad") == home / "text"
    assert "pretrained/text (text, validation UAR text 0.90); --m" in capsys.readouterr().err


def test_without_a_bundled_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(home / "text")  # of no use for a recording
    with pytest.raises(UserError, match=r"no model: none of runs/.*, nor pretrained/emotion"):
        default_model([Path("a.wav")])
    for name in ("text", "audio", "fusion"):
        write_run(Path("runs") / name)
        assert default_model([Path("a.wav")]) == Path("runs") / name
        assert capsys.readouterr().err == f"model: runs/{name}\n"
