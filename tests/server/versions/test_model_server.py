"""The engine as a whole: a real tiny model behind the store and the batcher, and a swap."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.preprocessing.pcm import to_pcm
from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_pool import AnalysisPool
from affectstream.server.errors import ServingError
from affectstream.server.limits import ServerLimits
from affectstream.server.metrics import Metrics
from affectstream.server.versions import arrays
from affectstream.server.versions.arrays import Arrays
from affectstream.server.versions.loaded_version import LoadedVersion, client_message, load_version
from affectstream.server.versions.model_server import ModelServer, PredictResult
from affectstream.server.versions.model_source import (
    ExportFolderSource,
    FoundVersions,
    SingleVersionSource,
)
from affectstream.server.versions.model_store import ModelStore
from affectstream.serving.export import savedmodel_export, warmup
from affectstream.serving.export.warmup import InputSpec
from affectstream.serving.export.wav_bytes import to_wav
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE
from tests.support.models import LABELS, RATE_HZ, SIZE_PX

SOON_S = 60.0
LENGTHS = ((9_000, 2), (48_000, 5), (0, 1), (20_000, 0), (30_001, 3))  # samples, frames
LIMITS = ServerLimits()
TOGETHER = replace(LIMITS, batch_wait_s=SOON_S, max_batch_rows=len(LENGTHS))


def predict(
    server: ModelServer,
    name: str,
    version: int | None,
    label: str | None,
    signature: str,
    inputs: Arrays,
    timeout_s: float | None = None,
) -> PredictResult:
    with server.lease_signature(name, version, label, signature) as (loaded, chosen):
        return server.run(loaded, chosen, inputs, timeout_s)


@pytest.fixture(scope="module")
def loaded(exported: Path) -> LoadedVersion:
    made = load_version(exported / "1")
    assert made.warm_up() == 0  # a bare export has no warm-up requests
    return made


def clip(number: int, num_samples: int, num_frames: int) -> Arrays:
    """One row with a blank frame between the faces."""
    rng = np.random.default_rng(number)
    mask = np.ones((1, max(1, num_frames)), bool)
    mask[0, 1:2] = False
    if not num_frames:
        mask[:] = False
    return {
        "audio": rng.normal(0, 0.1, (1, max(1, num_samples))).astype(np.float32),
        "audio_length": np.array([num_samples], np.int32),
        "video": rng.integers(0, 256, (*mask.shape, SIZE_PX, SIZE_PX, 1)).astype(np.uint8),
        "video_mask": mask,
    }


def files(row: Arrays) -> Arrays:
    """The same clip as `serve_bytes` takes it."""
    length = int(row["audio_length"][0])
    wav = to_wav(to_pcm(row["audio"][0, :length]), RATE_HZ) if length else b""
    jpegs = [
        tf.io.encode_jpeg(face).numpy() if is_there else b""
        for face, is_there in zip(row["video"][0], row["video_mask"][0], strict=True)
    ]
    return {"wav": np.array([wav], object), "face_jpeg": np.array([jpegs], object)}


def requests(signature: str) -> list[Arrays]:
    clips = [clip(number, *lengths) for number, lengths in enumerate(LENGTHS)]
    if signature == "labels":
        return [{"any": np.array([b"x"], object)} for _ in clips]
    if signature == "serve_bytes":
        return [files(row) for row in clips]
    names = {DEFAULT_SIGNATURE: tuple(clips[0]), "audio": ("audio", "audio_length")}
    wanted = names.get(signature, ("video", "video_mask"))
    return [{name: row[name] for name in wanted} for row in clips]


def server_of(source: Any, load: Any, limits: ServerLimits = LIMITS) -> ModelServer:
    store = ModelStore(source, load, poll_s=3600)
    made = ModelServer(store, limits, Metrics())
    store.start()
    return made


# === The real model ===


@pytest.mark.parametrize(
    "signature", [DEFAULT_SIGNATURE, "audio", "video", "serve_bytes", "labels"]
)
def test_merged_rows_answer_as_alone(signature: str, loaded: LoadedVersion) -> None:
    specs = loaded.signatures[signature]
    rows = requests(signature)
    together = loaded.run(signature, arrays.merge_requests(specs, rows))
    for number, row in enumerate(rows):
        arrays.check_inputs(specs, row)
        alone = loaded.run(signature, arrays.merge_requests(specs, [row]))
        assert sorted(alone) == sorted(together)
        for name, value in alone.items():
            assert value.dtype == together[name].dtype
            if value.dtype == object:
                assert value.tolist() == together[name][number : number + 1].tolist()
            else:
                np.testing.assert_allclose(together[name][number : number + 1], value, atol=1e-5)


def test_concurrent_requests_share_a_batch_and_a_broken_file_harms_none(
    exported: Path, loaded: LoadedVersion
) -> None:
    server = server_of(ExportFolderSource(exported, "m"), load_version, TOGETHER)
    rows = requests("serve_bytes")
    rows[1] = {**rows[1], "wav": np.array([b"RIFF, but no more"], object)}
    rows[3] = {**rows[3], "face_jpeg": np.array([[b"\xff\xd8\xff broken"]], object)}
    answers: list[Any] = [None] * len(rows)

    def ask(number: int) -> None:
        try:
            answers[number] = predict(server, "m", None, None, "serve_bytes", rows[number])
        except ServingError as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(rows))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON_S)
    for number in (0, 2, 4):
        alone = loaded.run(
            "serve_bytes", arrays.merge_requests(loaded.signatures["serve_bytes"], [rows[number]])
        )
        given = answers[number].outputs["probabilities"]
        np.testing.assert_allclose(given, alone["probabilities"], atol=1e-5)
        assert given.shape == (1, len(LABELS)) and answers[number].version == 1
    for number, words in ((1, "row 0: no WAV file; send 16-bit PCM WAV"), (3, "Invalid JPEG data")):
        assert answers[number].code is grpc.StatusCode.INVALID_ARGUMENT
        assert answers[number].message.startswith(words) and "\n" not in answers[number].message
    assert 'batch_size_sum{model_name="m",signature="serve_bytes"}' in str(server.metrics.text())
    server.close()


def test_a_lease_config_and_metadata(exported: Path) -> None:
    server = server_of(ExportFolderSource(exported, "m"), load_version)
    with server.lease_newest() as (config, forward):
        made = forward(clip(0, 8000, 2))
    assert made["probabilities"].sum() == pytest.approx(1, abs=1e-5)
    assert config["labels"] == server.config()["labels"] == list(LABELS)
    told = server.metadata("m", None, None)
    assert told.number == 1 and DEFAULT_SIGNATURE in told.signature_defs
    assert (
        told.signature_defs[DEFAULT_SIGNATURE].inputs["video"].tensor_shape.dim[2].size == SIZE_PX
    )
    assert b'model_version_available{model_name="m",version="1"} 1.0' in server.metrics.text()
    server.close()
    with pytest.raises(ServingError) as caught, server.lease_newest():
        pass
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert b"model_version_available{" not in server.metrics.text()


def test_an_analysis_knows_the_words_of_the_version(
    words_run: Path, exported: Path, tmp_path: Path
) -> None:
    savedmodel_export.export(words_run, tmp_path / "m")
    server = server_of(ExportFolderSource(tmp_path / "m", "m"), load_version)
    limits = ServerLimits(num_workers=1)
    pool = AnalysisPool(server.config(), server.lease_newest, None, limits)

    def told(text: str) -> tuple[float | None, list[str]]:
        options = AnalysisOptions(text=text)
        job = pool.submit(None, "text", options, lambda event: None)
        answer = job.future.result()
        return answer["known_word_share"], answer["warnings"]

    synthetic = "the model was trained on SYNTHETIC data"
    with server.lease_newest() as (config, _):
        vocabulary = config["vocabulary"]
    assert vocabulary[:2] == ["", "[UNK]"] and len(vocabulary) > 4
    try:
        assert told(" ".join(vocabulary[2:])) == (1.0, [synthetic])
        unknown = "no word is known to the model: the answer from words means little"
        assert told("ich habe furchtbare Angst") == (0.0, [unknown, synthetic])
    finally:
        pool.close()
        server.close()
    assert load_version(exported / "1").vocabulary == []


def test_warm_up_requests_are_replayed_and_a_bad_one_keeps_the_version_out(
    exported: Path, tmp_path: Path
) -> None:
    version = tmp_path / "1"
    shutil.copytree(exported / "1", version)
    warmup.write_warmup(version, "m")
    made = load_version(version)
    assert made.warm_up() == 2 * len(made.signatures)
    file = version / warmup.WARMUP_FILE
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"warm-up request .* fails"):
        made.warm_up()


def test_what_is_swapped_while_it_loads_is_refused(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tmp_path / "1"
    shutil.copytree(exported / "1", version)
    read = savedmodel_export.load_saved_model

    def swapped(path: Path) -> Any:
        """Puts another file there for the time of loading."""
        file = path / "saved_model.pb"
        checked = file.rename(tmp_path / "checked")
        shutil.copy2(checked, file)
        made = read(path)
        checked.replace(file)
        return made

    monkeypatch.setattr(savedmodel_export, "load_saved_model", swapped)
    with pytest.raises(UserError, match="1: changed while it was loaded"):
        load_version(version)


def test_a_linked_version_that_is_damaged_is_named_by_its_link(
    exported: Path, tmp_path: Path
) -> None:
    real, link = tmp_path / "store" / "abc", tmp_path / "1"
    shutil.copytree(exported / "1", real)
    shutil.rmtree(real / "variables")
    link.symlink_to(real)
    with pytest.raises(UserError, match="1: SavedModel cannot be read") as caught:
        load_version(link)
    assert "store" not in str(caught.value)


def test_signatures_are_told_as_the_file_has_them(loaded: LoadedVersion) -> None:
    assert loaded.signatures == warmup.read_signatures(loaded.folder)
    assert set(loaded.signatures) <= set(loaded.signature_defs)


def test_a_closed_version_lets_its_model_go(exported: Path) -> None:
    made = load_version(exported / "1")
    made.close()
    assert not made._functions and made._saved is None


# === Errors as one line ===


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Graph execution error:\n\nDetected at node Assert/Assert defined at (most recent call"
            " last):\n<stack traces unavailable>\nassertion failed: [row 0: no WAV file; send it]\n"
            "\t [[{{node Assert/Assert}}]] [Op:__inference_signature_wrapper_serve_4010]",
            "row 0: no WAV file; send it",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT:  Invalid JPEG data, size 7\n"
            "\t [[{{node x}}]]\n\t [[y/_12]]\n  (1) INVALID_ARGUMENT:  Invalid JPEG data, size 7",
            "Invalid JPEG data, size 7",
        ),
        (
            "{{function_node __wrapped__X}} bad /home/me/models/1/saved_model.pb [Op:X] name: y",
            "bad (path)",
        ),
        ("", "the model refused this request"),
        ("a" * 1000, "a" * 300),
    ],
)
def test_an_error_of_the_model_becomes_one_line(said: str, line: str) -> None:
    assert client_message(said) == line


# === Names ===


class Numbered(LoadedVersion):
    """Answers its own number for each row."""

    def __init__(self, folder: Path, signatures: Any = None) -> None:
        specs = {"text": InputSpec("object", (None,))}
        super().__init__(int(folder.name), folder, {}, {DEFAULT_SIGNATURE: specs}, {}, {})
        self.is_open = True

    def warm_up(self) -> int:
        return 0

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        assert self.is_open, "run after it was closed"
        return {"number": np.full(len(inputs["text"]), self.number)}

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def one(tmp_path: Path) -> Iterator[ModelServer]:
    folder = tmp_path / "3"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    made = server_of(SingleVersionSource(folder, "m", 3), Numbered)
    yield made
    made.close()


WORDS = {"text": np.array([b"a", b"b"], object)}


def test_errors_are_in_the_words_of_tensorflow_serving(one: ModelServer) -> None:
    missing, wrong = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT
    cases: list[tuple[tuple[str, int | None, str | None, str], grpc.StatusCode, str]] = [
        (("x", None, None, ""), missing, "Servable not found for request: Latest(x)"),
        (("x", 1, None, ""), missing, "Servable not found for request: Specific(x, 1)"),
        (("m", 1, None, ""), missing, "Servable not found for request: Specific(m, 1)"),
        (("m", None, "beta", ""), wrong, "Unrecognized servable version label: beta"),
        (("x", None, "beta", ""), wrong, "Unrecognized servable version label: beta"),
        (("m", None, None, "s"), wrong, 'Serving signature name: "s" not found in signature def'),
    ]
    for asked, code, words in cases:
        with pytest.raises(ServingError) as caught:
            predict(one, *asked, WORDS)
        assert (caught.value.code, caught.value.message) == (code, words)
    for name, version, words in (
        ("x", None, "Could not find any versions of model x"),
        ("m", 7, "Could not find version 7 of model m"),
    ):
        with pytest.raises(ServingError) as caught:
            one.statuses(name, version)
        assert (caught.value.code, caught.value.message) == (missing, words)
    with pytest.raises(ServingError, match=r"Latest\(x\)"):
        one.metadata("x", None, None)


def test_a_prediction_says_who_gave_it(one: ModelServer) -> None:
    answer = predict(one, "m", 3, None, "", WORDS)
    assert (answer.version, answer.signature) == (3, DEFAULT_SIGNATURE)
    assert answer.outputs["number"].tolist() == [3, 3]
    assert [status.state for status in one.statuses("m")] == ["AVAILABLE"]


def test_a_request_out_of_time_is_given_up(tmp_path: Path) -> None:
    entered, may_go = threading.Event(), threading.Event()

    class Slow(Numbered):
        def run(self, signature: str, inputs: Arrays) -> Arrays:
            entered.set()
            may_go.wait(SOON_S)
            return super().run(signature, inputs)

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"x")
    server = server_of(SingleVersionSource(tmp_path / "1", "m", 1), Slow)
    with pytest.raises(ServingError) as caught:
        predict(server, "m", None, None, "", WORDS, timeout_s=0.05)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    may_go.set()
    server.close()


# === Swap under load ===


class Folders:
    """Versions that a test puts there."""

    name = "m"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.newest = 1

    def find_versions(self) -> FoundVersions:
        folders = {}
        for number in range(1, self.newest + 1):
            folders[number] = self.folder / str(number)
            folders[number].mkdir(exist_ok=True)
        return FoundVersions(folders, num_latest=1)


def test_a_prepared_request_ends_on_its_version(tmp_path: Path) -> None:
    source = Folders(tmp_path)
    server = server_of(source, Numbered)
    with server.lease_signature("m", None, None, "") as (loaded, signature):
        source.newest = 2
        server.store.poll()
        assert predict(server, "m", None, None, "", WORDS).version == 2
        assert server.run(loaded, signature, WORDS).version == 1
        assert [s.state for s in server.statuses("m")] == ["AVAILABLE", "UNLOADING"]
    server.store.unload_unleased()
    assert [s.state for s in server.statuses("m")] == ["AVAILABLE", "END"]
    server.close()


def test_versions_are_swapped_under_load_without_a_failed_request(tmp_path: Path) -> None:
    source = Folders(tmp_path)
    opened: list[Numbered] = []

    def load(folder: Path) -> Numbered:
        opened.append(Numbered(folder))
        return opened[-1]

    server = server_of(source, load)
    seen: list[set[int]] = [set() for _ in range(4)]
    problems: list[BaseException] = []
    reached = [threading.Event() for _ in range(5)]
    stop = threading.Event()

    def ask(own: set[int]) -> None:
        try:
            while not stop.is_set():
                answer = predict(server, "m", None, None, "", WORDS)
                assert answer.outputs["number"].tolist() == [answer.version] * 2
                assert not own or answer.version >= max(own)
                own.add(answer.version)
                reached[answer.version].set()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=ask, args=(own,)) for own in seen]
    for thread in threads:
        thread.start()
    for number in range(1, 5):
        source.newest = number
        server.store.poll()
        assert reached[number].wait(SOON_S)
    stop.set()
    for thread in threads:
        thread.join(SOON_S)
    server.store.unload_unleased()
    assert not problems
    assert set.union(*seen) == {1, 2, 3, 4}
    assert [version.is_open for version in opened] == [False, False, False, True]
    assert len(server._batchers) == 1
    server.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batcher")]
