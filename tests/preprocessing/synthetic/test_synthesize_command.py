"""`synthesize`: the command line over `affectstream.preprocessing.synthetic.corpus`."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectstream.cli import main
from affectstream.commands.options import sample_data


def test_it_writes_the_corpus_and_says_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sample"
    words = ["synthesize", str(out), "--speakers", "1", "--takes", "1", "--seed", "3"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 7 SYNTHETIC clips of 1 invented speakers\n")
    assert f"--corpus sample --source {out}" in said.out
    assert "synthesize" in said.err, "progress on stderr"
    clips = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    assert len(clips) == 7
    assert main(words) == 0, "again: what is there is kept"
    assert clips == {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--speakers", "0"], "0 speakers asked for; give 1 to 99"),
        (["--takes", "5"], "5 takes asked for; give 1 to 4"),
        (["--seed", "-1"], "seed -1 is negative"),
    ],
)
def test_a_setting_out_of_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["synthesize", str(tmp_path / "sample"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "sample").exists()


def test_recordings_of_people_are_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.mp4").write_bytes(b"a recording")
    assert main(["synthesize", str(tmp_path), "--speakers", "1", "--takes", "1"]) == 1
    assert "mine.mp4" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.mp4"]


def test_wrong_usage_of_synthesize_ends_with_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["synthesize"]) == 2
    assert main(["synthesize", "out", "--speakers", "many"]) == 2


def test_ensure_sample_uses_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def synthesize(*arguments: object, **_: object) -> list[Path]:
        asked.append(arguments)
        return []

    monkeypatch.setattr("affectstream.preprocessing.synthetic.corpus.synthesize", synthesize)
    assert sample_data.ensure_sample(tmp_path / "sample") == tmp_path / "sample"
    assert asked == [(tmp_path / "sample", 8, 2, 0)]
    assert "built-in SYNTHETIC sample corpus" in capsys.readouterr().err
