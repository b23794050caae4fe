"""Help and lists come at once: nothing heavy is imported for them."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import pytest

from affectstream.cli import COMMANDS
from tests import ROOT

pytestmark = pytest.mark.slow

HEAVY = ("tensorflow", "keras", "librosa", "mediapipe", "sklearn", "matplotlib", "jax")

# Runs command lines one after another in one process; says after each what it had imported.
_PROBE = """
import contextlib, io, json, sys
from affectstream import cli
for line in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            code = cli.main(line)
        except ImportError as error:
            code = f"{type(error).__name__}: {error}"
    loaded = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
    print(json.dumps({"line": line, "code": code, "said": said.getvalue(), "loaded": loaded}))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    """What each command line said, by its words."""
    lines = [["--help"], *([name, "--help"] for name in COMMANDS)]
    lines += [["list", kind] for kind in ("corpora", "label-sets", "detectors", "recipes")]
    words = [sys.executable, "-c", _PROBE, json.dumps(lines), json.dumps(HEAVY)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {" ".join(answer["line"]): answer for answer in found}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_has_help(answers: dict[str, Any], name: str) -> None:
    answer = answers[f"{name} --help"]
    assert answer["code"] == 0, answer
    assert f"python cli.py {name}" in answer["said"]
    described = answer["said"].partition("\n\n")[2].strip()
    assert described and not described.startswith("Options")


def test_the_program_lists_every_command(answers: dict[str, Any]) -> None:
    for name, summary in COMMANDS.items():
        assert name in answers["--help"]["said"]
        assert summary.split()[0] in answers["--help"]["said"]


def test_nothing_heavy_is_imported(answers: dict[str, Any]) -> None:
    assert {line: a["loaded"] for line, a in answers.items() if a["loaded"]} == {}
    assert "ravdess" in answers["list corpora"]["said"]


def test_the_probe_notices_tensorflow() -> None:
    """What the checks above rely on: an import inside a command would be seen."""
    words = [sys.executable, "-c", "import sys; sys.modules['keras'] = 1\n" + _PROBE]
    words += [json.dumps([["--help"]]), json.dumps(HEAVY)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout)["loaded"] == ["keras"]


@pytest.mark.parametrize("words", [["--help"], ["list", "corpora"], ["train", "--help"]])
def test_it_takes_under_half_a_second(words: list[str]) -> None:
    """Of processor time, which other programs on the machine do not lengthen."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "cli.py", *words], cwd=ROOT, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_a_mistake_is_one_line_and_exit_code_2() -> None:
    done = subprocess.run(
        [sys.executable, "cli.py", "lisst"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "No such command 'lisst'" in done.stderr
    assert "Traceback" not in done.stderr
