"""Which versions are in memory: found, loaded beside the old ones, leased, unloaded."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from affectstream.core.errors import UserError
from affectstream.server.errors import ServingError
from affectstream.server.versions.loaded_version import LoadedVersion, load_version
from affectstream.server.versions.model_source import FoundVersions, open_source
from affectstream.server.versions.model_store import ModelStore, VersionStatus
from affectstream.serving.export.bundle import models_config
from affectstream.serving.exported import version_folder

SOON_S = 20.0


class Source:
    """A made-up one; `found` is what the next look finds."""

    name = "m"

    def __init__(self, folder: Path, *numbers: int, num_latest: int | None = 1) -> None:
        self.folder = folder
        self.num_latest = num_latest
        self.labels: dict[str, int] = {}
        self.error: Exception | None = None
        self.put(*numbers)

    def put(self, *numbers: int) -> None:
        for number in numbers:
            (self.folder / str(number)).mkdir(exist_ok=True)
        self.numbers = numbers

    def find_versions(self) -> FoundVersions:
        if self.error is not None:
            raise self.error
        folders = {number: self.folder / str(number) for number in self.numbers}
        return FoundVersions(folders, dict(self.labels), self.num_latest)


class Version(LoadedVersion):
    """Holds no model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(int(folder.name), folder, {}, {}, {}, {})
        self.warmed = False
        self.closed = threading.Event()

    def warm_up(self) -> int:
        self.warmed = True
        return 1

    def close(self) -> None:
        self.closed.set()


class Loader:
    """Keeps what it loaded; refuses the numbers in `bad`; can be held."""

    def __init__(self) -> None:
        self.loaded: list[Version] = []
        self.bad: set[int] = set()
        self.entered = threading.Event()
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, folder: Path) -> Version:
        self.entered.set()
        assert self.may_go.wait(SOON_S)
        if int(folder.name) in self.bad:
            raise UserError(f"{folder}: SavedModel cannot be read; export it again")
        self.loaded.append(Version(folder))
        return self.loaded[-1]

    @property
    def numbers(self) -> list[int]:
        return [version.number for version in self.loaded]


@pytest.fixture
def loader() -> Iterator[Loader]:
    made = Loader()
    yield made
    made.may_go.set()


def states(store: ModelStore) -> list[tuple[int, str]]:
    return [(status.version, status.state) for status in store.statuses()]


def newest(store: ModelStore) -> int:
    with store.lease() as loaded:
        return loaded.number


# === Which ones ===


def test_the_newest_of_an_export_folder_is_loaded(tmp_path: Path, loader: Loader) -> None:
    store = ModelStore(Source(tmp_path, 1, 3, 2), loader)
    store.poll()
    assert loader.numbers == [3] and loader.loaded[0].warmed
    assert states(store) == [(3, "AVAILABLE")]
    assert store.is_ready() and newest(store) == 3


def test_a_bundle_serves_all_and_labels_name_them(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1, 2, num_latest=None)
    source.labels = {"stable": 1, "canary": 2, "next": 7}
    store = ModelStore(source, loader)
    store.poll()
    assert states(store) == [(2, "AVAILABLE"), (1, "AVAILABLE")]
    assert store.labels() == {"stable": 1, "canary": 2}
    with store.lease(label="stable") as loaded:
        assert loaded.number == 1
    with store.lease(version=1) as loaded:
        assert loaded.number == 1
    source.labels = {"stable": 3}  # not there yet: it stays where it is
    store.poll()
    assert store.labels() == {"stable": 1}
    source.put(1, 2, 3)
    store.poll()
    assert store.labels() == {"stable": 3}
    source.labels = {}
    store.poll()
    assert store.labels() == {}


def test_errors_are_in_the_words_of_tensorflow_serving(tmp_path: Path, loader: Loader) -> None:
    store = ModelStore(Source(tmp_path, 1), loader)
    cases: list[tuple[dict[str, Any], str, grpc.StatusCode]] = [
        ({}, r"Servable not found for request: Latest\(m\)", grpc.StatusCode.NOT_FOUND),
        (
            {"version": 7},
            r"Servable not found for request: Specific\(m, 7\)",
            grpc.StatusCode.NOT_FOUND,
        ),
        (
            {"label": "x"},
            "Unrecognized servable version label: x",
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ]
    for asked, words, code in cases:
        with pytest.raises(ServingError, match=words) as caught, store.lease(**asked):
            pass
        assert caught.value.code is code


# === Swap ===


def test_a_lease_outlives_the_swap(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader)
    heard: list[tuple[int, bool]] = []
    store.on_change = lambda loaded, answers: heard.append((loaded.number, answers))
    store.poll()
    old = loader.loaded[0]
    with store.lease() as first, store.lease(version=1) as second:
        source.put(1, 2)
        store.poll()
        assert states(store) == [(2, "AVAILABLE"), (1, "UNLOADING")]
        assert first is second is old and not old.closed.is_set()
        assert newest(store) == 2
        with pytest.raises(ServingError, match="Specific"), store.lease(version=1):
            pass
        store.unload_unleased()
        assert not old.closed.is_set()
    store.unload_unleased()
    assert old.closed.is_set()
    assert states(store) == [(2, "AVAILABLE"), (1, "END")]
    assert heard == [(1, True), (2, True), (1, False)]


def test_the_old_version_answers_while_the_new_one_loads(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader)
    store.poll()
    loader.entered.clear()
    loader.may_go.clear()
    source.put(1, 2)
    polling = threading.Thread(target=store.poll)
    polling.start()
    assert loader.entered.wait(SOON_S)
    assert newest(store) == 1
    assert states(store) == [(2, "LOADING"), (1, "AVAILABLE")]
    loader.may_go.set()
    polling.join(SOON_S)
    assert newest(store) == 2


def test_a_vanished_version_gives_way(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1, 2)
    store = ModelStore(source, loader)
    store.poll()
    source.put(1)
    store.poll()
    assert newest(store) == 1 and loader.loaded[0].closed.is_set()
    source.put()
    store.poll()
    assert not store.is_ready()
    assert states(store) == [(2, "END"), (1, "END")]


def test_a_folder_that_cannot_be_read_changes_nothing(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader)
    store.poll()
    for error in (OSError("network away"), UserError("models.config: half written")):
        source.error = error
        store.poll()
        assert newest(store) == 1


def test_a_folder_that_stays_unreadable_is_told_of_once(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader)
    store.poll()
    for error in (OSError("away"), OSError("away"), OSError("locked"), None, None):
        source.error = error
        store.poll()
    assert caplog.messages == [
        "m: keeps its versions, its folder cannot be read (away)",
        "m: keeps its versions, its folder cannot be read (locked)",
        "m: its folder can be read again",
    ]


def test_one_that_does_not_close_keeps_nobody(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(tmp_path, 1, 2, 3, num_latest=None)
    store = ModelStore(source, loader)
    store.poll()

    def fail() -> None:
        raise RuntimeError("no")

    loader.loaded[0].close = fail  # type: ignore[method-assign]
    source.put()
    store.poll()
    assert [version.closed.is_set() for version in loader.loaded] == [False, True, True]
    assert states(store) == [(3, "END"), (2, "END"), (1, "END")]
    assert "version 3 of m was not closed in order" in caplog.text


# === What fails ===


def test_a_bad_version_leaves_the_old_one_and_says_why(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader)
    store.poll()
    loader.bad = {2}
    source.put(1, 2)
    store.poll()
    assert newest(store) == 1
    assert store.statuses()[0] == VersionStatus(
        2, "END", "UNKNOWN", "version 2: SavedModel cannot be read; export it again"
    )


def test_a_bad_version_is_tried_again_once_it_changes(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1, 2)
    store = ModelStore(source, loader)
    loader.bad = {2}
    store.poll()
    loader.bad = set()
    store.poll()
    assert newest(store) == 1  # nothing changed in its folder
    (tmp_path / "2" / "variables").write_bytes(b"the rest of a slow copy")
    store.poll()
    assert newest(store) == 2


def test_a_failing_warm_up_keeps_a_version_out(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Version) -> int:
        raise RuntimeError("no")

    monkeypatch.setattr(Version, "warm_up", fail)
    store = ModelStore(Source(tmp_path, 1), loader)
    with pytest.raises(UserError, match=r"no version can be loaded \(/.*/1: no\)"):
        store.start()


def test_a_failed_start_is_one_line_with_the_path(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.bad = {1}
    store = ModelStore(Source(tmp_path, 1), loader)
    with pytest.raises(UserError) as caught:
        store.start()
    line = f"{tmp_path}/1: SavedModel cannot be read; export it again"
    assert str(caught.value) == f"m: no version can be loaded ({line})"
    assert not caplog.messages
    assert str(tmp_path) not in store.statuses()[0].message


def test_one_that_does_not_start_beside_one_that_does_is_logged_once(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    loader.bad = {2}
    store = ModelStore(Source(tmp_path, 1, 2), loader, poll_s=3600)
    store.start()
    store.stop()
    line = f"m: {tmp_path}/2: SavedModel cannot be read; export it again"
    assert caplog.messages == [line]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: [c.pop("recipe"), c.pop("preparation")], "lacks recipe, preparation"),
        (lambda c: c["labels"].pop(), "6 labels for 7 outputs"),
        (None, "damaged"),
    ],
)
def test_a_version_whose_config_does_not_fit_is_not_served(
    exported: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any] | None, said: str
) -> None:
    for number in "12":
        shutil.copytree(exported / "1", tmp_path / number)
    file = tmp_path / "2" / "assets" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if spoil is not None:
        spoil(config)
    file.write_text(json.dumps(config)[: None if spoil else 99], encoding="utf-8")
    store = ModelStore(open_source(tmp_path), load_version)
    store.poll()
    assert newest(store) == 1
    message = store.statuses()[0].message
    assert message.startswith("version 2, assets/config.json: ") and said in message
    assert message.endswith("; export it again")


def test_nothing_to_serve_is_said_at_once(tmp_path: Path, loader: Loader) -> None:
    with pytest.raises(UserError, match=r"no version can be loaded \(none is there\)"):
        ModelStore(Source(tmp_path), loader).start()


# === The thread ===


def test_the_thread_finds_loads_and_unloads(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader, poll_s=0.01)
    moved = threading.Event()
    store.start()
    store.on_change = lambda loaded, answers: moved.set() if loaded.number == 2 else None
    with store.lease():
        source.put(1, 2)
        assert moved.wait(SOON_S)
        assert not loader.loaded[0].closed.is_set()
    assert loader.loaded[0].closed.wait(SOON_S)
    store.stop()
    assert loader.loaded[1].closed.is_set() and not store.is_ready()


def test_a_returned_lease_wakes_the_thread(tmp_path: Path, loader: Loader) -> None:
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader, poll_s=3600)
    store.start()
    with store.lease():
        source.put(1, 2)
        store.poll()
    assert loader.loaded[0].closed.wait(SOON_S)
    store.stop()


def test_stopping_waits_for_leases(tmp_path: Path, loader: Loader) -> None:
    store = ModelStore(Source(tmp_path, 1), loader, poll_s=3600)
    store.start()
    with store.lease():
        stopping = threading.Thread(target=store.stop, args=(SOON_S,))
        stopping.start()
        assert not loader.loaded[0].closed.is_set()
    stopping.join(SOON_S)
    assert loader.loaded[0].closed.is_set()


# === Sources ===


def test_stopping_leaves_a_version_that_still_loads(
    tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take minutes; once it is there nobody is served by it."""
    monkeypatch.setattr("affectstream.server.versions.model_store.THREAD_STOP_TIMEOUT_S", 0.1)
    source = Source(tmp_path, 1)
    store = ModelStore(source, loader, poll_s=0.05)
    store.start()
    loader.entered.clear()
    loader.may_go.clear()
    source.put(2)
    assert loader.entered.wait(SOON_S)
    store.stop()
    assert loader.loaded[0].closed.is_set()
    loader.may_go.set()
    assert store._thread is not None
    store._thread.join(SOON_S)
    assert loader.numbers == [1, 2]
    assert loader.loaded[1].closed.is_set()
    assert not store.is_ready()


def versions(home: Path, *numbers: object) -> Path:
    for number in numbers:
        (home / str(number)).mkdir(parents=True)
        (home / str(number) / "saved_model.pb").write_bytes(b"x")
    return home


def test_an_export_folder_is_recognised(tmp_path: Path) -> None:
    home = versions(tmp_path / "my model", 1, 12, "3.part-ab12", "007", 0, "x", "\u0663")
    (home / "13").mkdir()  # its SavedModel is still to come
    source = open_source(home)
    assert source.name == "my-model"
    found = source.find_versions()
    assert sorted(found.versions) == [1, 12] and found.num_latest == 1 and not found.labels
    assert open_source(home, "other").name == "other"
    with pytest.raises(UserError, match="not a name for a model"):
        open_source(home, "../other")


def test_one_version_is_recognised(tmp_path: Path) -> None:
    home = versions(tmp_path / "tone", 1, 12)
    source = open_source(home / "1")
    assert source.name == "tone" and source.find_versions().versions == {1: home / "1"}
    plain = versions(tmp_path, "saved")
    assert open_source(plain / "saved").find_versions().versions == {1: plain / "saved"}
    (home / "1" / "saved_model.pb").unlink()
    assert not source.find_versions().versions


def test_a_bundle_is_recognised_and_read_again(tmp_path: Path) -> None:
    versions(tmp_path / "models" / "tone", 1, 2)
    config = tmp_path / "models.config"
    config.write_text(models_config("tone", [1, 2]), encoding="utf-8")
    source = open_source(tmp_path)
    assert source.name == "tone"
    found = source.find_versions()
    assert found.labels == {"stable": 1, "canary": 2} and found.num_latest is None
    assert found.versions[2] == tmp_path / "models" / "tone" / "2"
    versions(tmp_path / "models" / "tone", 3)
    config.write_text(models_config("tone", [1, 2, 3]), encoding="utf-8")
    assert source.find_versions().labels == {"stable": 2, "canary": 3}
    with pytest.raises(UserError, match="holds the model tone; use --name tone"):
        open_source(tmp_path, "other")
    config.write_text(models_config("other", [1]), encoding="utf-8")
    with pytest.raises(UserError):
        source.find_versions()


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("model_version_policy { all {} }", [1, 2, 3]),
        ("model_version_policy { specific { versions: 1 versions: 3 } }", [1, 3]),
        ("model_version_policy { specific { versions: 2 } }", [2]),
        ("model_version_policy { latest { num_versions: 2 } }", [2, 3]),
        ("model_version_policy { latest {} }", [3]),
        ("", [3]),
    ],
)
def test_the_versions_that_a_bundle_asks_for_are_served(
    tmp_path: Path, loader: Loader, policy: str, wanted: list[int]
) -> None:
    versions(tmp_path / "models" / "tone", 1, 2, 3)
    text = models_config("tone", [1, 2, 3]).replace("model_version_policy { all {} }", policy)
    (tmp_path / "models.config").write_text(text, encoding="utf-8")
    store = ModelStore(open_source(tmp_path), loader)
    store.poll()
    assert states(store) == [(number, "AVAILABLE") for number in reversed(wanted)]
    labels = {"stable": 2, "canary": 3}
    assert store.labels() == {label: n for label, n in labels.items() if n in wanted}
    if 1 not in wanted:
        with pytest.raises(ServingError) as caught, store.lease(version=1):
            raise AssertionError
        assert caught.value.code is grpc.StatusCode.NOT_FOUND


def test_a_specific_version_comes_and_goes_and_its_absence_is_said_once(
    tmp_path: Path, loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    versions(tmp_path / "models" / "tone", 1, 2)
    config = tmp_path / "models.config"
    asked = models_config("tone", [1, 2]).replace("all {}", "specific { versions: 1 versions: 7 }")
    config.write_text(asked, encoding="utf-8")
    store = ModelStore(open_source(tmp_path), loader)
    for _ in range(3):
        store.poll()
    assert states(store) == [(1, "AVAILABLE")]
    assert caplog.messages == ["tone: models.config asks for version 7, which is not there"]
    versions(tmp_path / "models" / "tone", 7)
    store.poll()
    assert states(store) == [(7, "AVAILABLE"), (1, "AVAILABLE")]
    config.write_text(asked.replace("versions: 1 ", "versions: 2 "), encoding="utf-8")
    store.poll()
    assert states(store) == [(7, "AVAILABLE"), (2, "AVAILABLE"), (1, "END")]
    assert len(caplog.messages) == 1


def test_anything_else_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"a run folder; `export --run .*run --out OUT` first"):
        open_source(run)
    with pytest.raises(UserError, match=r"run\.json: a file; serve wants a folder"):
        open_source(run / "run.json")
    with pytest.raises(
        UserError, match=r"x\.tflite: made for `predict --model`; serve wants an ex"
    ):
        open_source(tmp_path / "x.tflite")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^\. \(the current folder\): no exported model"):
        open_source(Path())
    for path in (tmp_path, tmp_path / "missing", run / "run.json"):
        with pytest.raises(UserError, match="give what `export --run RUN --out OUT`"):
            open_source(path)


def test_one_number_has_one_name(tmp_path: Path) -> None:
    """Whoever looks for versions reads the names of folders alike."""
    for name in ("2", "10", "010", "0", "\u0663", "\u00b2", "1" * 19, "12.tmp", "-4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "77").mkdir()
    assert version_folder.version_numbers(tmp_path) == [2, 10]
    assert open_source(tmp_path).find_versions().versions == {
        2: tmp_path / "2",
        10: tmp_path / "10",
    }
    assert version_folder.newest_version(tmp_path) == tmp_path / "10"
