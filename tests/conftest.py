"""What all tests share: where real recordings lie, and fresh folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from affectstream.core import tf_setup
from tests import ROOT

# As `tf_setup.import_tensorflow` does: test modules import TensorFlow before anything of ours, and
# a command in a process of its own must come to the same numbers to the last bit.
tf_setup.set_onednn_defaults()


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


# === What is trained once for all tests that use a model ===


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of sound and face that are easy to tell apart: 3 speakers x 7 x 2."""
    from tests.support import models

    folder = tmp_path_factory.mktemp("toy") / "data"
    return models.write_data(folder, models.records(num_takes=2))


@pytest.fixture(scope="session")
def video_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support import models

    out = tmp_path_factory.mktemp("runs") / "video"
    assert models.train(out, "--batch-size", 14, stream="video", data=toy_data) == 0
    return out


@pytest.fixture(scope="session")
def audio_run(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support import models

    out = tmp_path_factory.mktemp("runs") / "audio"
    assert models.train(out, "--batch-size", 7, stream="audio", data=toy_data) == 0
    return out


@pytest.fixture(scope="session")
def fusion_run(audio_run: Path, video_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both streams, calibrated late fusion."""
    from tests.support import models

    out = tmp_path_factory.mktemp("runs") / "fusion"
    streams = ("--audio-run", audio_run, "--video-run", video_run)
    assert models.train(out, *streams, stream="fusion") == 0
    return out


@pytest.fixture(scope="session")
def exported(fusion_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export folder with version 1 of `fusion_run`."""
    from tests.support import models

    out = tmp_path_factory.mktemp("export") / "fusion"
    assert models.run("export", "--run", fusion_run, "--out", out) == 0
    return out


@pytest.fixture(scope="session")
def words_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words alone, SYNTHETIC; its folder's name is no name of a model."""
    from tests.support import models

    home = tmp_path_factory.mktemp("words")
    data = models.write_data(home / "data", models.records(streams=("text",)), synthetic=True)
    out = home / "my words"
    assert models.train(out, "--epochs", 1, stream="text", data=data) == 0
    return out


# === Bundles ===


@pytest.fixture(scope="session")
def bundle(fusion_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of `fusion_run`, named both."""
    from affectstream.serving.export import bundle as module
    from tests.support import bundles, models

    folder = tmp_path_factory.mktemp("bundle") / "served"
    words = ("export", "--run", fusion_run, "--serving", folder)
    assert models.run(*words, "--name", "both") == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "export", bundles.copy_export(folder / "models" / "both" / "1"))
        assert models.run(*words) == 0
    return folder


@pytest.fixture(scope="session")
def words_bundle(words_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of `words_run`, under the name of its folder."""
    from tests.support import models

    folder = tmp_path_factory.mktemp("bundle") / "words"
    assert models.run("export", "--run", words_run, "--serving", folder) == 0
    return folder


@pytest.fixture(scope="session")
def tokens_bundle(words_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without its tokeniser."""
    from tests.support import models

    folder = tmp_path_factory.mktemp("bundle") / "tokens"
    words = ("export", "--run", words_run, "--serving", folder, "--name", "tokens")
    assert models.run(*words, "--text-input", "token_ids") == 0
    return folder
