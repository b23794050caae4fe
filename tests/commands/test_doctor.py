"""`doctor`: what it finds, and the line to type that it gives for what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from affectstream.cli import main
from affectstream.commands import doctor
from affectstream.core.errors import UserError
from affectstream.opencv_model.weights import CACHE_VARIABLE
from tests import ROOT


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty cache of weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] == (code == 0)
    return code, {check["name"]: check for check in told["checks"]}


def without(monkeypatch: pytest.MonkeyPatch, **libraries: str) -> None:
    """Adds shared libraries that no machine has."""
    monkeypatch.setattr(doctor, "LIBRARIES", {**doctor.LIBRARIES, **libraries})


# === All there ===


def test_this_machine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """The machine that runs the tests has what the program needs."""
    code, checks = report(capsys)
    assert [check for check in checks.values() if check["status"] == "missing"] == []
    assert code == 0
    assert checks["Python"]["found"].startswith("3.11.")
    assert checks["tensorflow"]["status"] == "ok"
    assert checks["detector haar"]["status"] == "ok"
    assert int(checks["cores"]["found"]) >= 1
    assert {"libGL.so.1", "libEGL.so.1", "free disk", "GPU", "write data", "write runs"} <= {
        name.rstrip("/") for name in checks
    }


def test_the_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].split()[:2] == ["ok", "Python"]
    assert "all that is needed is there" in said
    assert "to do:" not in said


# === Something missing ===


def test_doctor_asks_for_the_python_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED_PYTHON", (3, 99))
    check = next(doctor.run_checks())
    assert (check.status, check.remedy) == ("missing", "install Python 3.99, then `make demo`")
    assert check.found.endswith("needs 3.99")


def test_packages_absent_or_of_another_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"keras": "", "numpy": "1.26.4"}
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: found.get(name, real(name)))
    code, checks = report(capsys)
    assert code == 1
    assert checks["keras"]["found"] == f"absent, needs {doctor.pinned_versions()['keras']}"
    assert checks["numpy"]["found"] == f"1.26.4, needs {doctor.pinned_versions()['numpy']}"
    remedy = checks["keras"]["remedy"]
    assert remedy == checks["numpy"]["remedy"]
    assert remedy == (
        f"{sys.executable} -m pip install -r {ROOT / 'requirements.txt'}"
        f" -c {ROOT / 'constraints.txt'}"
    )
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert said.count(remedy) == 1, "one line mends both"
    assert "all that is needed" not in said


def test_a_second_opencv(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(
        doctor, "_version", lambda name: "5.0.0" if name == "opencv-python" else real(name)
    )
    code, checks = report(capsys)
    assert code == 1
    assert "overwrites the cv2" in checks["opencv-python"]["found"]
    assert "pip uninstall -y opencv-python && " in checks["opencv-python"]["remedy"]


def test_doctor_names_missing_system_libraries_and_their_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, **{"libnowhere.so.9": "libnowhere9", "libgone.so.1": "libgone1"})
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    code, checks = report(capsys)
    assert code == 1
    assert checks["libnowhere.so.9"]["status"] == checks["libgone.so.1"]["status"] == "missing"
    assert checks["libGL.so.1"]["status"] == "ok"
    assert checks["libnowhere.so.9"]["remedy"].endswith("apt-get install -y libnowhere9 libgone1")
    assert main(["doctor", "--system-packages"]) == 0
    assert capsys.readouterr().out == "libnowhere9 libgone1\n"


def test_system_libraries_are_asked_for_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, **{"libnowhere.so.9": "libnowhere9"})
    monkeypatch.setattr(doctor.sys, "platform", "darwin")
    assert doctor.missing_packages() == ()


@pytest.mark.parametrize(
    ("user", "apt_get", "line"),
    [
        (0, "/usr/bin/apt-get", "apt-get update && apt-get install -y libgl1 libegl1"),
        (9, "/usr/bin/apt-get", "sudo apt-get update && sudo apt-get install -y libgl1 libegl1"),
        (9, None, "install with this system's package manager what Debian calls libgl1 libegl1"),
    ],
)
def test_the_line_to_type(
    monkeypatch: pytest.MonkeyPatch, user: int, apt_get: str | None, line: str
) -> None:
    monkeypatch.setattr(doctor.os, "geteuid", lambda: user)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: apt_get)
    assert doctor.install_command(("libgl1", "libegl1")) == line


def test_folders_that_cannot_be_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data").write_text("a file")
    (place / "runs").mkdir()
    real = doctor.os.access
    monkeypatch.setattr(
        doctor.os, "access", lambda path, mode: path != place / "runs" and real(path, mode)
    )
    code, checks = report(capsys)
    assert code == 1
    assert checks["write data/"]["found"] == f"{place / 'data'} is a file"
    assert checks["write runs/"]["remedy"] == f"chmod u+rwx {place / 'runs'}"


# === Useful, not needed ===


def test_weights_of_detectors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, checks = report(capsys)
    assert checks["detector yunet"]["status"] == "note"
    assert str(place / "cache") in checks["detector yunet"]["found"]
    (place / "cache").mkdir()
    (place / "cache" / "blaze_face_custom.tflite").write_bytes(b"of the user's own")
    (place / "cache" / "face_detection_yunet_2026may.onnx").write_bytes(b"cut short")
    code, checks = report(capsys)
    assert code == 0
    assert checks["detector blazeface"]["status"] == "ok"
    assert checks["detector yunet"]["status"] == "note"
    assert "wrong checksum" in checks["detector yunet"]["remedy"]


def test_little_memory_is_a_note(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = place / "meminfo"
    table.write_text("MemTotal:  8000000 kB\nMemAvailable:     524288 kB\n")
    assert doctor.free_memory_gib(table) == 0.5
    assert doctor.free_memory_gib(place / "none") is None
    monkeypatch.setattr(doctor, "free_memory_gib", lambda: 0.5)
    code, checks = report(capsys)
    assert code == 0
    assert checks["free memory"]["status"] == "note"
    assert checks["free memory"]["found"].startswith("0.5 GiB, ")
    monkeypatch.setattr(doctor, "free_memory_gib", lambda: None)
    assert report(capsys)[1]["free memory"]["found"] == "unknown on this system"


@pytest.mark.parametrize("found", [None, "/usr/bin/nvidia-smi"])
def test_doctor_passes_with_and_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: str | None
) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: found)
    code, checks = report(capsys)
    assert code == 0
    assert (checks["GPU"]["status"] == "ok") is bool(found)


# === Pins ===


def test_pins_are_read(place: Path) -> None:
    file = place / "some.txt"
    file.write_text("# why\n-r other.txt\n\na==1.0\nb-c==2.0.post1  # because\n")
    assert doctor.pinned_versions(file) == {"a": "1.0", "b-c": "2.0.post1"}
    for line in ("a", "a>=1", "a==1.*", "a @ https://example.org/a.whl"):
        file.write_text(f"{line}\n")
        with pytest.raises(UserError, match="is not an exact pin"):
            doctor.pinned_versions(file)
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        doctor.pinned_versions(place / "none.txt")


def test_the_files_of_pins_agree() -> None:
    constraints = doctor.pinned_versions(ROOT / "constraints.txt")
    transitive = {name.lower().replace("_", "-"): version for name, version in constraints.items()}
    for file in ("requirements.txt", "requirements-dev.txt"):
        for name, version in doctor.pinned_versions(ROOT / file).items():
            assert transitive[name.lower()] == version
            assert doctor._version(name) == version
    assert not {"opencv-python", "pip"} & set(transitive)
    assert "://" not in (ROOT / "constraints.txt").read_text()
