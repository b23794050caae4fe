"""Imports run one way, nothing heavy is imported early, and what is imported is pinned."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from affectstream.commands.doctor import pinned_versions
from tests import ROOT

# The name that all code is imported by.
PACKAGE = "affectstream"
# What each row may import: itself and every row before it.
ROWS = (
    ("core",),
    ("parallel",),
    ("opencv_model",),
    ("preprocessing",),
    ("data_augmentation",),
    ("modeling",),
    ("serving",),
    ("server",),
    ("commands",),
    ("cli",),
)
# The same within each package, by its rooms and loose modules.
ROOMS = {
    "core": (
        ("checksum", "errors", "interrupts", "progress", "tf_setup"),
        ("key_value", "registry", "storage_paths", "templates"),
        ("lfs_pointer",),
        ("atomic_io",),
        ("http_fetch",),
    ),
    "parallel": (
        ("tasks",),
        ("messages", "resource_limits", "serial"),
        ("child_process",),
        ("isolated_worker",),
        ("process_pool", "ray_cluster"),
    ),
    "opencv_model": (
        ("mediapipe_task", "weights"),
        ("detectors",),
        ("blendshapes", "crops"),
        ("tracking",),
    ),
    "preprocessing": (
        ("clip", "content_hash", "file_kinds", "labels", "model_rows", "pcm", "synthetic"),
        ("download", "media", "speech_to_text", "windowing"),
        ("corpora",),
        ("faces",),
        ("dataset",),
        ("records",),
    ),
    "data_augmentation": (
        ("transform",),
        ("audio", "image", "text"),
        ("spectrogram",),
        ("chain", "mixup"),
        ("offline",),
    ),
    "modeling": (
        (
            "input_spec",
            "layer_names",
            "layer_tree",
            "pretrained_weights",
            "recipes",
            "text_presets",
        ),
        ("metrics",),
        ("features",),
        ("encoders",),
        ("fusions",),
        ("models",),
        ("runs",),
        ("data",),
        ("training",),
        ("evaluation",),
        ("crossval",),
    ),
    "serving": (("exported",), ("inference",), ("export",), ("bundled", "loading")),
    "server": (
        ("errors", "limits", "routes", "signals"),
        ("gzip_body", "memory_quota", "metrics", "origins"),
        ("security", "thread_pool"),
        ("sockets", "versions"),
        ("grpc",),
        ("rest",),
        ("analysis", "page"),
        ("app",),
    ),
    "commands": (
        ("options",),
        ("jobs", "reports"),
        ("augment", "crossval", "demo", "describe"),
        ("doctor", "download", "evaluate", "export", "features", "list", "predict", "preprocess"),
        ("serve", "split", "synthesize", "train"),
    ),
}
LEVEL = {name: level for level, row in enumerate(ROWS) for name in row}
ROOM_LEVEL = {
    (package, room): level
    for package, rows in ROOMS.items()
    for level, row in enumerate(rows)
    for room in row
}
# Layers and training need TensorFlow; elsewhere it waits until a function needs it.
MAY_IMPORT_TENSORFLOW = ("modeling", "serving")
# Layers, listed among the transforms, that only what builds models imports; and what only a
# running server imports, since the stubs of TensorFlow Serving bring TensorFlow along.
EXCEPTIONS = {
    ("data_augmentation/spectrogram/spectrogram_transform.py", "keras"),
    ("data_augmentation/spectrogram/spec_augment.py", "keras"),
    ("data_augmentation/spectrogram/vtlp.py", "keras"),
    ("data_augmentation/spectrogram/mix_style.py", "keras"),
    ("server/grpc/grpc_api.py", "tensorflow"),
    ("server/grpc/messages.py", "tensorflow"),
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
            module = f"{package}.{node.module or ''}" if node.level else str(node.module)
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(file, node.lineno, name, id(node) not in inside)


def top(name: str) -> str:
    return name.partition(".")[0]


def place(name: str) -> tuple[str, str]:
    """Package and room of a module of ours by its dotted name, "" where it has none."""
    package, _, rest = name.removeprefix(f"{PACKAGE}.").partition(".")
    return package, top(rest)


def own_place(one: Import) -> tuple[str, str]:
    return place(one.file.replace("/", ".").removesuffix(".py").removesuffix(".__init__"))


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
    """Whether an import of ours leads to a later row, of packages or of rooms."""
    if top(one.name) != PACKAGE:
        return False
    own, other = own_place(one), place(one.name)
    if own[0] != other[0]:
        return LEVEL.get(other[0], -1) > LEVEL[own[0]]
    return bool(own[1]) and ROOM_LEVEL.get(other, -1) > ROOM_LEVEL[own]


def bare(one: Import) -> bool:
    """Whether a module of ours is imported by another name, which would load it twice."""
    return top(one.name) in LEVEL


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
        (
            "preprocessing/media/media_file.py",
            "from affectstream.modeling.metrics.classification import uar",
            True,
        ),
        (
            "preprocessing/media/media_file.py",
            "def f():\n    import affectstream.serving.export.savedmodel_export",
            True,
        ),
        ("opencv_model/tracking.py", "from affectstream.preprocessing import clip", True),
        ("core/atomic_io.py", "import affectstream.preprocessing.clip", True),
        ("commands/train.py", "from affectstream.cli import main", True),
        (
            "preprocessing/media/media_file.py",
            "from affectstream.opencv_model import tracking\nimport os",
            False,
        ),
        ("preprocessing/media/media_file.py", "from .clip import Clip\nimport json", False),
        (
            "serving/export/savedmodel_export.py",
            "from affectstream.modeling.metrics import plots",
            False,
        ),
        ("modeling/features/mel.py", "from affectstream.modeling import crossval", True),
        ("modeling/crossval/run.py", "import affectstream.modeling.features.front_end", False),
        ("modeling/__init__.py", "import affectstream.modeling.crossval.run", False),
    ],
)
def test_an_upward_import_is_noticed(file: str, source: str, broken: bool) -> None:
    assert any(wrong_way(one) for one in imports_of(source, file)) is broken


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("from preprocessing.clip import Clip", True),
        ("def f():\n    from core import errors", True),
        ("import cli", True),
        ("from affectstream.preprocessing.clip import Clip", False),
        ("import affectstream.cli", False),
    ],
)
def test_a_second_name_of_a_module_is_noticed(source: str, broken: bool) -> None:
    assert any(bare(one) for one in imports_of(source, "tests/test_x.py")) is broken


@pytest.mark.parametrize(
    ("file", "source", "broken"),
    [
        ("preprocessing/records/record.py", "import tensorflow as tf", True),
        ("commands/train.py", "if True:\n    from keras import layers", True),
        ("preprocessing/records/record.py", "class A:\n    import tensorflow.io", True),
        ("preprocessing/records/record.py", "def f():\n    import tensorflow as tf", False),
        ("modeling/data/record_dataset.py", "import tensorflow as tf", False),
        ("data_augmentation/spectrogram/spec_augment.py", "import keras", False),
        ("data_augmentation/spectrogram/spec_augment.py", "import tensorflow", True),
    ],
)
def test_an_early_import_is_noticed(file: str, source: str, broken: bool) -> None:
    assert any(too_early(one) for one in imports_of(source, file)) is broken


# === The rules hold ===


def test_the_rows_are_all_there() -> None:
    folders = {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()}
    loose = {path.stem for path in ROOT.glob("*.py")}
    assert folders | loose == {*LEVEL, PACKAGE, "benchmarks", "tests"}
    for package, rows in ROOMS.items():
        files = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert sorted(room for row in rows for room in row) == sorted(files | rooms)


def test_every_package_is_reached_by_the_import_name() -> None:
    links = {path.name: path.readlink() for path in (ROOT / PACKAGE).iterdir() if path.is_symlink()}
    assert {name.removesuffix(".py") for name in links} == {*LEVEL, "pretrained"}
    assert all(target == Path("..", name) for name, target in links.items())


def test_each_folder_says_what_it_holds() -> None:
    folders = [path for path in modules() if path.name == "__init__.py"]
    assert len(folders) > 40
    texts = {path: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in folders}
    assert [path for path, text in texts.items() if not text] == []


def test_no_module_is_loaded_by_a_second_name() -> None:
    files = [ROOT / "cli.py"]
    for folder in (*LEVEL, PACKAGE, "benchmarks", "tests"):
        files += sorted((ROOT / folder).rglob("*.py"))
    imports = [
        one
        for path in files
        for one in imports_of(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
    ]
    assert len(imports) > 1000
    assert [str(one) for one in imports if bare(one)] == []


def test_imports_run_one_way(found: list[Import]) -> None:
    assert len(found) > 200
    assert [str(one) for one in found if wrong_way(one)] == []


def test_tensorflow_is_imported_by_no_module_too_early(found: list[Import]) -> None:
    assert [str(one) for one in found if too_early(one)] == []


def test_nothing_of_ours_imports_tests_or_benchmarks(found: list[Import]) -> None:
    assert [str(one) for one in found if top(one.name) in ("tests", "benchmarks")] == []


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {"utils", "util", "helpers", "common", "misc"}
    assert [path for path in modules() if path.stem in names] == []


def test_what_is_imported_is_pinned(found: list[Import]) -> None:
    third_party = {top(one.name) for one in found} - {PACKAGE} - set(sys.stdlib_module_names)
    owners = importlib.metadata.packages_distributions()
    files = ("requirements.txt", "requirements-cluster.txt", "requirements-cloud.txt")
    pinned = {name.lower() for file in files for name in pinned_versions(ROOT / file)}
    unpinned = {
        name
        for name in third_party
        if not {d.lower() for d in (DISTRIBUTIONS.get(name), *owners.get(name, ())) if d} & pinned
    }
    assert unpinned == set()
