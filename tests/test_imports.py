"""Imports run one way, nothing heavy is imported early, and what is imported is pinned."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.doctor import pins

ROOT = Path(__file__).resolve().parent.parent

# What each row may import: itself and every row before it.
ROWS = (
    ("errors", "places", "lfs", "storage", "registry", "progress", "quiet", "interrupts"),
    ("engines", "opencv_model"),
    ("preprocessing",),
    ("data_augmentation",),
    ("modeling",),
    ("serving",),
    ("server",),
    ("commands",),
    ("cli",),
)
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
# Layers and training need TensorFlow; elsewhere it waits until a function needs it.
MAY_IMPORT_TENSORFLOW = ("modeling", "serving")
# Layers, listed among the transforms, that only what builds models imports; and what only a
# running server imports, since the stubs of TensorFlow Serving bring TensorFlow along.
EXCEPTIONS = {
    ("data_augmentation/spectrogram_transform.py", "keras"),
    ("data_augmentation/spec_augment.py", "keras"),
    ("data_augmentation/vtlp.py", "keras"),
    ("data_augmentation/mix_style.py", "keras"),
    ("server/grpc_api.py", "tensorflow"),
    ("server/messages.py", "tensorflow"),
}
TENSORFLOW = {"tensorflow", "keras", "tf_keras", "tensorflow_hub", "keras_hub", "jax"}
# Imported under another name than they are installed.
DISTRIBUTIONS = {
    "cv2": "opencv-contrib-python",
    "speech_recognition": "SpeechRecognition",
    "deep_translator": "deep-translator",
    "bs4": "beautifulsoup4",
    "grpc_health": "grpcio-health-checking",
    "google": "protobuf",
    "google_crc32c": "google-crc32c",
    "prometheus_client": "prometheus-client",
}


@dataclass(frozen=True)
class Import:
    """One import: the file with its line, what it names, and whether it runs on import."""

    file: str
    line: int
    name: str
    at_module_level: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def imports_of(source: str, file: str) -> Iterator[Import]:
    """Every import of a module, those inside functions too, but not `if TYPE_CHECKING:`."""
    tree = ast.parse(source, file)
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(outer)
    }
    package = Path(file).parent.as_posix().replace("/", ".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{package}.{node.module or ''}" if node.level else str(node.module)]
        else:
            continue
        for name in names:
            yield Import(file, node.lineno, name, id(node) not in inside)


def top(name: str) -> str:
    return name.partition(".")[0]


def modules() -> list[Path]:
    """Every module of ours that has a row."""
    files = [ROOT / f"{name}.py" for name in LEVEL if (ROOT / f"{name}.py").is_file()]
    for name in LEVEL:
        files += sorted((ROOT / name).rglob("*.py"))
    return files


@pytest.fixture(scope="module")
def found() -> list[Import]:
    return [
        one
        for path in modules()
        for one in imports_of(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
    ]


def wrong_way(one: Import) -> bool:
    """Whether an import of ours leads to a later row."""
    own = LEVEL[top(one.file.replace("/", ".").removesuffix(".py"))]
    return LEVEL.get(top(one.name), -1) > own


def too_early(one: Import) -> bool:
    return (
        one.at_module_level
        and top(one.name) in TENSORFLOW
        and top(one.file.replace("/", ".")) not in MAY_IMPORT_TENSORFLOW
        and (one.file, top(one.name)) not in EXCEPTIONS
    )


# === The rules find what they are for ===


@pytest.mark.parametrize(
    ("file", "source", "broken"),
    [
        ("preprocessing/media.py", "from modeling.metrics import uar", True),
        ("preprocessing/media.py", "def f():\n    import serving.export", True),
        ("opencv_model/track.py", "from preprocessing import clip", True),
        ("storage.py", "import preprocessing.clip", True),
        ("commands/train.py", "from cli import main", True),
        ("preprocessing/media.py", "from opencv_model import track\nimport errors", False),
        ("preprocessing/media.py", "from .clip import Clip\nimport json", False),
        ("serving/export.py", "from modeling import plots", False),
    ],
)
def test_an_upward_import_is_noticed(file: str, source: str, broken: bool) -> None:
    assert any(wrong_way(one) for one in imports_of(source, file)) is broken


@pytest.mark.parametrize(
    ("file", "source", "broken"),
    [
        ("preprocessing/records.py", "import tensorflow as tf", True),
        ("commands/train.py", "if True:\n    from keras import layers", True),
        ("preprocessing/records.py", "class A:\n    import tensorflow.io", True),
        ("preprocessing/records.py", "def f():\n    import tensorflow as tf", False),
        ("modeling/inputs.py", "import tensorflow as tf", False),
        ("data_augmentation/spec_augment.py", "import keras", False),
        ("data_augmentation/spec_augment.py", "import tensorflow", True),
    ],
)
def test_an_early_import_is_noticed(file: str, source: str, broken: bool) -> None:
    assert any(too_early(one) for one in imports_of(source, file)) is broken


# === The rules hold ===


def test_the_rows_are_all_there() -> None:
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert folders | loose <= {*LEVEL, "benchmarks", "tests"}
    assert set(LEVEL) <= folders | loose


def test_imports_run_one_way(found: list[Import]) -> None:
    assert len(found) > 200
    assert [str(one) for one in found if wrong_way(one)] == []


def test_tensorflow_waits(found: list[Import]) -> None:
    assert [str(one) for one in found if too_early(one)] == []


def test_nothing_of_ours_imports_tests_or_benchmarks(found: list[Import]) -> None:
    assert [str(one) for one in found if top(one.name) in ("tests", "benchmarks")] == []


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {"utils", "util", "helpers", "common", "misc"}
    assert [path for path in modules() if path.stem in names] == []


def test_what_is_imported_is_pinned(found: list[Import]) -> None:
    third_party = {top(one.name) for one in found} - set(LEVEL) - set(sys.stdlib_module_names)
    owners = importlib.metadata.packages_distributions()
    files = ("requirements.txt", "requirements-cluster.txt", "requirements-cloud.txt")
    pinned = {name.lower() for file in files for name in pins(ROOT / file)}
    unpinned = {
        name
        for name in third_party
        if not {d.lower() for d in (DISTRIBUTIONS.get(name), *owners.get(name, ())) if d} & pinned
    }
    assert unpinned == set()
