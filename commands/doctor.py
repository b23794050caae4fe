"""`doctor`: checks this machine; opens no connection and imports nothing heavy."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from affectstream import PROJECT
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError

ROOT = PROJECT
REQUIREMENTS = ROOT / "requirements.txt"
CONSTRAINTS = ROOT / "constraints.txt"
REQUIRED_PYTHON = (3, 11)
# Shared library -> its Debian package; OpenCV needs the first two, MediaPipe the rest.
LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libEGL.so.1": "libegl1",
    "libGLESv2.so.2": "libgles2",
}
CONFLICTING_OPENCV_PACKAGES = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)
OUTPUT_FOLDERS = (Path("data"), Path("runs"))
GIB = 2**30
# TensorFlow, the decoded sample corpus and its training; records and runs of some size.
RECOMMENDED_MEMORY_GIB = 3.0
RECOMMENDED_DISK_GIB = 2.0


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
      status: "ok"; "missing" must be fixed; "note" need not.
      remedy: command or action; "" if there is nothing to do.
    """

    name: str
    status: str
    found: str
    remedy: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option(
    "--system-packages",
    is_flag=True,
    help="Print only the names of missing Debian packages, for scripts.",
)
def command(as_json: bool, system_packages: bool) -> int:
    """Checks this machine and says what is missing, with the line to type for it.

    Exit code 0 when all that is needed is there, else 1.
    """
    if system_packages:
        click.echo(" ".join(missing_packages()))
        return EXIT_OK
    checks = tuple(run_checks())
    fine = all(check.status != "missing" for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": fine, "checks": [asdict(c) for c in checks]}, indent=1))
    else:
        _print(checks)
    return EXIT_OK if fine else EXIT_FAILURE


def run_checks() -> Iterator[Check]:
    """All checks, in the order of the report."""
    yield _python()
    yield from _packages()
    yield from _libraries()
    yield from _detectors()
    yield from _machine()
    yield from (_folder(folder) for folder in OUTPUT_FOLDERS)


def _print(checks: Iterable[Check]) -> None:
    checks = list(checks)
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.echo(f"{check.status:<8}{check.name:<{width}}  {check.found}")
    for status, title in (("missing", "to do"), ("note", "not needed, but useful")):
        remedies = [check.remedy for check in checks if check.status == status and check.remedy]
        if remedies:
            click.echo(f"\n{title}:")
            for remedy in dict.fromkeys(remedies):
                click.echo(f"  {remedy}")
    if all(check.status != "missing" for check in checks):
        click.echo("\nall that is needed is there")


# === Python and its packages ===


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == REQUIRED_PYTHON:
        return Check("Python", "ok", found)
    wanted = ".".join(map(str, REQUIRED_PYTHON))
    return Check(
        "Python",
        "missing",
        f"{found}, needs {wanted}",
        f"install Python {wanted}, then `make demo`",
    )


def pinned_versions(path: Path = REQUIREMENTS) -> dict[str, str]:
    """Package -> version of every line `name==version` or `name[extra]==version`.

    Raises:
      UserError: the file is absent, or a line is not an exact pin.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fetch it again") from error
    versions = {}
    for line in (line.partition("#")[0].strip() for line in lines):
        if line and not line.startswith("-"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[a-z0-9,]+\])?==([A-Za-z0-9.!+_-]+)", line)
            if match is None:
                raise UserError(f"{path}: {line!r} is not an exact pin; write name==version")
            versions[match[1]] = match[2]
    return versions


def _packages() -> Iterator[Check]:
    words = [sys.executable, "-m", "pip", "install", "-r", _shown(REQUIREMENTS)]
    words += ["-c", _shown(CONSTRAINTS)] if CONSTRAINTS.is_file() else []
    remedy = shlex.join(words)
    for name, wanted in pinned_versions().items():
        found = _version(name)
        if found == wanted:
            yield Check(name, "ok", found)
        else:
            told = f"{found}, needs {wanted}" if found else f"absent, needs {wanted}"
            yield Check(name, "missing", told, remedy)
    for name in CONFLICTING_OPENCV_PACKAGES:
        if found := _version(name):
            uninstall = shlex.join([sys.executable, "-m", "pip", "uninstall", "-y", name])
            again = f"{remedy} --force-reinstall --no-deps"
            told = f"{found}, overwrites the cv2 of opencv-contrib-python"
            yield Check(name, "missing", told, f"{uninstall} && {again}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _shown(path: Path) -> str:
    """A path relative to the working folder if it is inside."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# === System libraries ===


def _libraries() -> Iterator[Check]:
    packages = missing_packages()
    for library, package in LIBRARIES.items():
        if package in packages:
            yield Check(library, "missing", "absent", install_command(packages))
        else:
            yield Check(library, "ok", "present" if sys.platform == "linux" else "not needed here")


def missing_packages() -> tuple[str, ...]:
    """Debian packages of the shared libraries that cannot be loaded; none on other systems."""
    if sys.platform != "linux":
        return ()
    return tuple(package for library, package in LIBRARIES.items() if not _loads(library))


def install_command(packages: Iterable[str]) -> str:
    """The command that installs Debian packages, as this user would type it."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None:
        return f"install with this system's package manager what Debian calls {names}"
    if os.geteuid() == 0:
        return f"apt-get update && apt-get install -y {names}"
    return f"sudo apt-get update && sudo apt-get install -y {names}"


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


# === Face detectors ===


def _detectors() -> Iterator[Check]:
    """State of the face detectors; one is enough, and `haar` comes with OpenCV."""
    if importlib.util.find_spec("platformdirs") is None:
        return
    from affectstream.opencv_model.weights import WEIGHT_SETS, cache_folder, find_local_weights

    haar = importlib.util.find_spec("cv2")
    if haar is not None and haar.submodule_search_locations:
        folder = Path(haar.submodule_search_locations[0]) / "data"
        if (folder / "haarcascade_frontalface_default.xml").is_file():
            yield Check("detector haar", "ok", "comes with OpenCV")
        else:
            yield Check("detector haar", "note", "not in this OpenCV")
    for name in WEIGHT_SETS:
        what = name if name == "blendshapes" else f"detector {name}"
        try:
            paths = find_local_weights(name)
        except UserError as error:
            yield Check(what, "note", "weights unusable", str(error))
            continue
        if paths is None:
            found = f"no weights in {cache_folder()}; fetched when it is named"
            yield Check(what, "note", found)
        else:
            yield Check(what, "ok", str(paths[0]))


# === Machine ===


def _machine() -> Iterator[Check]:
    yield Check("cores", "ok", str(num_cores()))
    memory_gib = free_memory_gib()
    if memory_gib is None:
        yield Check("free memory", "note", "unknown on this system")
    else:
        yield _amount("free memory", memory_gib, RECOMMENDED_MEMORY_GIB, "close other programs")
    disk_gib = shutil.disk_usage(Path.cwd()).free / GIB
    yield _amount("free disk", disk_gib, RECOMMENDED_DISK_GIB, f"free some space at {Path.cwd()}")
    has_gpu = shutil.which("nvidia-smi") is not None
    yield Check(
        "GPU", "ok" if has_gpu else "note", "nvidia-smi found" if has_gpu else "none, not needed"
    )


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory_gib(table: Path = Path("/proc/meminfo")) -> float | None:
    """Memory available without swapping, or None if the system does not report it."""
    if not table.is_file():
        return None
    match = re.search(r"^MemAvailable:\s+(\d+) kB", table.read_text(), re.MULTILINE)
    return int(match[1]) * 1024 / GIB if match else None


def _amount(name: str, found_gib: float, wanted_gib: float, remedy: str) -> Check:
    found = f"{found_gib:.1f} GiB"
    if found_gib >= wanted_gib:
        return Check(name, "ok", found)
    return Check(name, "note", f"{found}, {wanted_gib:g} GiB are better", remedy)


def _folder(folder: Path) -> Check:
    """Whether a default folder is writable, or can be created."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    name = f"write {folder}/"
    if not place.is_dir():
        return Check(name, "missing", f"{place} is a file", f"move {place} away")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check(name, "missing", f"no permission in {place}", f"chmod u+rwx {place}")
    return Check(name, "ok", str(place))
