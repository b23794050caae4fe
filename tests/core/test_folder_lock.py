"""Two programs never write into one folder at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE
from tests.support.models import error_line, run


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--stream", "video", "--data", "{data}", "--resume"),
        ("crossval", "--recipe", "elu-cnn-video", "--data", "{data}", "--folds", "3"),
        ("augment", "--data", "{data}"),
        ("preprocess", "--corpus", "sample", "--source", "{data}"),
    ],
    ids=lambda words: words[0],
)
def test_a_folder_in_use_is_left_alone(
    words: tuple[str, ...], toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    typed = [word.format(data=toy_data) for word in words]
    with atomic_io.folder_lock(out):
        half = out / "last.part-abcdefgh.keras"  # which whoever begins anew would remove
        half.touch()
        assert run(*typed, "--out", out) == EXIT_FAILURE
        assert list(out.iterdir()) == [half]
    line = error_line(capsys.readouterr().err)
    assert line == (
        f"Error: {out}: another program is writing there; wait for it, or choose another --out"
    )
