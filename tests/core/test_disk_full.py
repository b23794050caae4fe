"""A real disk that is full: a `tmpfs`, where this user may mount one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affectstream import cli
from affectstream.core.errors import EXIT_FAILURE, UserError
from benchmarks.robustness import disk_full
from benchmarks.robustness.kill_jobs import jobs
from benchmarks.robustness.kill_trials import KillTrials


@pytest.fixture
def may_mount(tmp_path: Path) -> Iterator[None]:
    try:
        with disk_full.disk(tmp_path / "tried"):
            pass
    except UserError as error:
        pytest.skip(f"no full disk can be had: {error}")
    yield


@pytest.mark.usefixtures("may_mount")
def test_preprocess_on_a_full_disk(tmp_path: Path) -> None:
    arena = KillTrials(jobs(tmp_path, "")["preprocess"](), tmp_path / "trials")
    assert disk_full.run_on_full_disk(arena, share=0.5) == (True, True, [])


@pytest.mark.parametrize(
    ("said", "file"),
    [
        (
            "{{function_node __wrapped__WriteSummary_device_/job:localhost/replica:0/task:0/device:"
            "CPU:0}} /d/run/tensorboard/events.out; No space left on device",
            "/d/run/tensorboard/events.out",
        ),
        (
            "{{function_node __wrapped__SaveV2_dtypes_2_device_/job:localhost/device:CPU:0}} /my"
            " disk/part-00000.data.tempstate7707; No space left on device [Op:SaveV2]",
            "/my disk/part-00000.data",
        ),
    ],
)
def test_a_full_disk_as_tensorflow_tells_it(
    said: str, file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError(said)

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fails)
    assert cli.main(["list"]) == EXIT_FAILURE
    wanted = f"Error: {file}: disk full; free some space and run the same command again\n"
    assert capsys.readouterr().err == wanted
    with pytest.raises(RuntimeError):
        cli.main(["--debug", "list"])
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        cli.main(["list"])


def test_what_a_command_must_say() -> None:
    good = "Error: data/clips.csv: disk full; free some space and run the same command again\n"
    assert disk_full.unexpected_output(EXIT_FAILURE, f"epoch 1\n{good}") == []
    assert disk_full.unexpected_output(0, good) == ["exit status 0"]
    assert disk_full.unexpected_output(1, good + good)
    assert disk_full.unexpected_output(1, "Error: something\n") == ["said: Error: something"]
    assert disk_full.unexpected_output(1, "Traceback (most\nOSError: x") == [
        "a traceback: OSError: x"
    ]
