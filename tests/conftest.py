"""What all tests share: where real recordings lie, and fresh folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from affectstream.core import tf_setup
from tests import ROOT
from tests.support.shared import made_once
from tests.support.stubs import Pictures, stub_trainer

# As `tf_setup.import_tensorflow` does: test modules import TensorFlow before anything of ours, and
# a command in a process of its own must come to the same numbers to the last bit.
tf_setup.set_onednn_defaults()

# Fixture -> the marker of every test that uses it, be it through other fixtures.
_MARKER_OF_FIXTURE = {
    "real_data": "real",
    "real_models": "real",
    "browser": "browser",
    "cluster": "cluster",
    "scripted": "server",
    **dict.fromkeys(("video_run", "audio_run", "words_run", "no_training"), "slow"),
}

# Folder below `tests` -> the marker of every test in it.
_MARKER_OF_FOLDER = dict.fromkeys(
    (
        "benchmarks",
        "modeling/crossval",
        "modeling/training",
        "parallel",
        "serving/bundled",
        "serving/export",
    ),
    "slow",
)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their folder and their fixtures, and puts the files of slow ones first.

    Files are handed to the processes in this order, so that none begins with a long one at the end.
    """
    slow_files = set()
    for item in items:
        folder = item.path.parent.relative_to(ROOT / "tests").as_posix()
        if folder in _MARKER_OF_FOLDER:
            item.add_marker(_MARKER_OF_FOLDER[folder])
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in _MARKER_OF_FIXTURE:
                item.add_marker(_MARKER_OF_FIXTURE[fixture])
        if any(item.iter_markers("slow")):
            slow_files.add(item.path)
    items.sort(key=lambda item: item.path not in slow_files)


def real_data_folder() -> Path:
    """Folder of real recordings: `EMOTION_DATA`, else `../shared/data` beside the project."""
    return Path(os.environ.get("EMOTION_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = real_data_folder()
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is absent (set EMOTION_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_models(real_data: Path) -> Path:
    folder = real_data.parent / "models"
    if not folder.is_dir():
        pytest.skip(f"no third-party weights: {folder} is absent")
    return folder


# === What a test can do without ===


@pytest.fixture(scope="session", autouse=True)
def pictures() -> Iterator[Pictures]:
    """Pictures of runs and scores are one dot each; a test that looks at one has it drawn."""
    made = Pictures()
    with made.undrawn():
        yield made


@pytest.fixture
def drawn_pictures(pictures: Pictures) -> Iterator[None]:
    with pictures.drawn():
        yield


@pytest.fixture
def no_training() -> Iterator[None]:
    """Epochs pass without a step, see `stub_trainer`."""
    with stub_trainer():
        yield


# === What is trained once for all tests and all their processes; only read it ===


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of sound and face that are easy to tell apart: 3 speakers x 7 x 2."""
    from tests.support import models

    def make(folder: Path) -> None:
        models.write_data(folder, models.records(num_takes=2))

    return made_once(tmp_path_factory, "toy/data", make)


@pytest.fixture(scope="session")
def video_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support import models

    def make(out: Path) -> None:
        assert models.train(out, "--batch-size", 14, stream="video", data=toy_data) == 0

    return made_once(tmp_path_factory, "run of video/video", make)


@pytest.fixture(scope="session")
def audio_run(toy_data: Path, pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its curves are drawn."""
    from tests.support import models

    def make(out: Path) -> None:
        with pictures.drawn():
            assert models.train(out, "--batch-size", 7, stream="audio", data=toy_data) == 0

    return made_once(tmp_path_factory, "run of audio/audio", make)


@pytest.fixture(scope="session")
def fusion_run(audio_run: Path, video_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both streams, calibrated late fusion."""
    from tests.support import models

    def make(out: Path) -> None:
        streams = ("--audio-run", audio_run, "--video-run", video_run)
        assert models.train(out, *streams, stream="fusion") == 0

    return made_once(tmp_path_factory, "run of both/fusion", make)


@pytest.fixture(scope="session")
def exported(fusion_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export folder with version 1 of `fusion_run`."""
    from tests.support import models

    def make(out: Path) -> None:
        assert models.run("export", "--run", fusion_run, "--out", out) == 0

    return made_once(tmp_path_factory, "export/fusion", make)


@pytest.fixture(scope="session")
def video_exported(video_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export folder with version 1 of `video_run`."""
    from tests.support import models

    def make(out: Path) -> None:
        assert models.run("export", "--run", video_run, "--out", out) == 0

    return made_once(tmp_path_factory, "export of video/video", make)


@pytest.fixture(scope="session")
def words_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words alone, SYNTHETIC; its folder's name is no name of a model."""
    from tests.support import models

    def make(home: Path) -> None:
        data = models.write_data(home / "data", models.records(streams=("text",)), synthetic=True)
        assert models.train(home / "my words", "--epochs", 1, stream="text", data=data) == 0

    return made_once(tmp_path_factory, "run of words", make) / "my words"


# === Bundles ===


@pytest.fixture(scope="session")
def bundle(fusion_run: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of `fusion_run`, named both; `words_bundle` is exported in earnest."""
    from affectstream.serving.export import bundle as module
    from tests.support import bundles, models

    def make(folder: Path) -> None:
        words = ("export", "--run", fusion_run, "--serving", folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "export", bundles.copy_export(exported / "1"))
            assert models.run(*words, "--name", "both") == 0
            assert models.run(*words) == 0

    return made_once(tmp_path_factory, "bundle/served", make)


@pytest.fixture(scope="session")
def words_bundle(words_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of `words_run`, under the name of its folder."""
    from tests.support import models

    def make(folder: Path) -> None:
        assert models.run("export", "--run", words_run, "--serving", folder) == 0

    return made_once(tmp_path_factory, "bundle/words", make)


@pytest.fixture(scope="session")
def tokens_bundle(words_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without its tokeniser."""
    from tests.support import models

    def make(folder: Path) -> None:
        words = ("export", "--run", words_run, "--serving", folder, "--name", "tokens")
        assert models.run(*words, "--text-input", "token_ids") == 0

    return made_once(tmp_path_factory, "bundle/tokens", make)
