"""The analysis of uploads: the same numbers as here, from a process that may die."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import av
import grpc
import numpy as np
import pytest

from affectstream.preprocessing.windowing import WindowSettings
from affectstream.server.analysis import analysis_pool, worker_process
from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_pool import AnalysisPool, Lease, ModelAnalysisPool
from affectstream.server.analysis.analysis_worker import RECOGNIZER_FACTORY, WorkerSettings
from affectstream.server.analysis.upload_slots import MAX_RECEIVING
from affectstream.server.analysis.worker_process import Forward, Job, WorkerProcess
from affectstream.server.errors import ServingError
from affectstream.server.limits import MIB, ServerLimits
from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.recognizer import Recognizer
from tests import ROOT
from tests.support.factories import sample_source, tone, write_media, write_sound
from tests.support.odd_recognizers import BROKEN, FAULTY_RECOGNIZER

pytestmark = pytest.mark.slow

LIMITS = ServerLimits(
    num_workers=1, max_waiting_uploads=2, max_analysis_s=3.0, max_worker_bytes=600 * MIB, drain_s=1
)
CONFIG: dict[str, Any] = {
    "labels": ["happy", "sad"],
    "streams": ["audio", "video"],
    "input": {"sample_rate_hz": 16_000, "face_size_px": 48, "face_channels": 1},
    "preparation": {
        "detector": "haar",
        "sampling": {"mode": "time", "num_frames": 8},
        "face": {"size_px": 48, "color": "grey", "margin": 0.1},
    },
    "windows": WindowSettings().as_json(),
    "synthetic": False,
    "leak_allowed": False,
}


def forward(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model that hears loudness and sees brightness."""
    loud = np.abs(inputs["audio"]).mean(axis=1)
    light = inputs["video"].mean(axis=(1, 2, 3, 4)) / 255
    told = {"audio": np.stack([loud, 1 - loud], 1), "video": np.stack([light, 1 - light], 1)}
    mean = (told["audio"] + told["video"]) / 2
    return {"probabilities": mean, **{f"{k}_probabilities": v for k, v in told.items()}}


def held(config: dict[str, Any], forward: Forward = forward) -> Lease:
    """One version, for ever."""
    return lambda: nullcontext((config, forward))


def ignore(event: dict[str, Any]) -> None:
    """Listens to nothing."""


def analyze(pool: AnalysisPool, *job: Any) -> dict[str, Any]:
    """Waits for the answer of a job."""
    return pool.submit(*job).future.result()


def seconds_until(done: Callable[[], bool], at_most_s: float = 20.0) -> float:
    began_s = time.monotonic()
    while not done():
        assert time.monotonic() - began_s < at_most_s, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - began_s


# === The real recognizer ===


@pytest.fixture(scope="module")
def pool() -> Iterator[AnalysisPool]:
    pool = AnalysisPool(CONFIG, held(CONFIG, forward))
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7.5 s of a drawn face with a tone."""
    with av.open(str(sorted(sample_source().rglob("*.mp4"))[0])) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    shown = (pictures * 4)[: round(7.5 * 25)]
    path = tmp_path_factory.mktemp("clips") / "face.mp4"
    return write_media(
        path, shown, fps=25, options={"preset": "ultrafast"}, waveform=tone(7.5, 48_000)
    )


@pytest.mark.parametrize("face", ["largest", "all"])
def test_the_answer_is_that_of_the_recogniser(face: str, pool: AnalysisPool, clip: Path) -> None:
    options = AnalysisOptions(face=face, window_s=2.0, hop_s=1.0)
    answer = analyze(pool, clip, "their.mp4", options, ignore)
    expected = Recognizer(forward, CONFIG)(clip, PredictOptions(face, 2.0, 1.0)).as_json()
    assert answer == {**expected, "path": "their.mp4"}
    assert len(answer["windows"]) == 7
    assert answer["face_coverage"] == 1.0
    assert bool(answer.get("faces")) is (face == "all")


def test_a_step_above_the_window_of_the_model(pool: AnalysisPool, clip: Path) -> None:
    with pytest.raises(ServingError, match=r"hop_s=3\.5 must not be above window_s") as raised:
        analyze(pool, clip, "x", AnalysisOptions(hop_s=3.5), ignore)
    assert raised.value.http_status == 400


def test_what_happens_meanwhile_is_told(pool: AnalysisPool, clip: Path) -> None:
    events: list[dict[str, Any]] = []
    answer = analyze(pool, clip, "x", AnalysisOptions(), events.append)
    assert events[0] == {
        "event": "start",
        "duration_s": answer["duration_s"],
        "has_audio": True,
        "has_video": True,
        "sample_rate_hz": 16_000,
        "spectrogram_top_hz": 8000.0,
    }
    shown = [event for event in events if event["event"] == "window"]
    for event, window in zip(shown, answer["windows"], strict=True):
        assert {key: event[key] for key in window} == window
        assert event["face_jpeg"].startswith("/9j/")
        assert len(event["face_box"]) == 4
    sounds = [event for event in events if event["event"] == "sound"]
    assert sounds[0]["start_s"] == 0
    for before, after in itertools.pairwise(sounds):
        assert after["start_s"] == before["end_s"]
    # The last window may end a little before the recording does.
    assert sounds[-1]["end_s"] == answer["windows"][-1]["end_s"]
    assert answer["duration_s"] - sounds[-1]["end_s"] < 0.05
    done = [event["done_s"] for event in events if event["event"] == "progress"]
    assert done == sorted(done)
    assert done[-1] == answer["duration_s"]


def test_sound_alone_has_no_face(pool: AnalysisPool, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    path = tmp_path / "upload"
    path.write_bytes(write_sound(tmp_path / "x.wav", tone(2.0), 16_000).read_bytes())
    analyze(pool, path, "x.wav", AnalysisOptions(), events.append)
    assert [e["face_jpeg"] for e in events if e["event"] == "window"] == [None]


@pytest.mark.parametrize(
    ("content", "said", "status"),
    [
        (b"I am no sound", r"^their\.mp4: not readable as sound or video", 422),
        (b"#EXTM3U\n#EXTINF:2,\n/etc/passwd\n#EXT-X-ENDLIST\n", r"^their\.mp4: not readable", 422),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", r"^their\.mp4: .*a playlist", 422),
    ],
)
def test_what_is_no_recording_is_refused_by_its_own_name(
    content: bytes, said: str, status: int, pool: AnalysisPool, tmp_path: Path
) -> None:
    (tmp_path / "upload").write_bytes(content)
    with pytest.raises(ServingError, match=said) as refused:
        analyze(pool, tmp_path / "upload", "their.mp4", AnalysisOptions(), ignore)
    assert refused.value.http_status == status
    assert str(tmp_path) not in refused.value.message


def test_words_for_a_model_without_words(pool: AnalysisPool, clip: Path) -> None:
    with pytest.raises(ServingError, match="no words; leave them out") as refused:
        analyze(pool, clip, "x", AnalysisOptions(text="hello"), ignore)
    assert refused.value.http_status == 400


@pytest.fixture(scope="module")
def reading() -> Iterator[AnalysisPool]:
    """Of a model that is happy about letters."""

    def by_length(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        (texts,) = inputs.values()
        happy = np.array([min(len(text.decode()) / 20, 1) for text in texts], np.float32)
        shares = np.stack([happy, 1 - happy], 1)
        return {"probabilities": shares, "text_probabilities": shares}

    config = {**CONFIG, "streams": ["text"]}
    pool = AnalysisPool(config, held(config, by_length), None, LIMITS)
    yield pool
    pool.close()


def test_words_alone_of_the_recogniser(reading: AnalysisPool) -> None:
    answer = analyze(reading, None, "text", AnalysisOptions(text="grüße, was ein"), ignore)
    assert answer["path"] == "text"
    assert answer["probabilities"] == {"happy": 0.7, "sad": 0.3}
    (window,) = answer["windows"]
    assert (window["start_s"], window["end_s"], list(window["streams"])) == (0.0, 0.0, ["text"])


def test_unknown_words_are_told_by_the_version_that_answers() -> None:
    """Another version of the same kind keeps the pool and its worker, and brings its own words."""
    config = {**CONFIG, "streams": ["text"]}
    english, german = ["", "[UNK]", "i", "am", "so", "happy"], ["", "[UNK]", "ich", "bin", "froh"]
    served = {**config, "vocabulary": english}

    def same(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        shares = np.tile(np.array([0.75, 0.25], np.float32), (len(inputs["text"]), 1))
        return {"probabilities": shares, "text_probabilities": shares}

    pool = AnalysisPool(config, lambda: held(served, same)(), None, LIMITS)

    def told(text: str) -> tuple[float | None, list[str]]:
        answer = analyze(pool, None, "text", AnalysisOptions(text=text), ignore)
        return answer["known_word_share"], answer["warnings"]

    low = "known to the model: the answer from words means little"
    try:
        assert told("I am so happy") == (1.0, [])
        assert told("ich bin so froh") == (0.25, [f"only 25% of the words are {low}"])
        served = {**config, "vocabulary": german}
        assert told("ich bin so froh") == (0.75, [])
        assert told("I am happy") == (0.0, [f"no word is {low}"])
        served = config
        assert told("I am happy") == (None, [])
    finally:
        pool.close()


def test_words_alone_for_a_model_of_sound_and_face(pool: AnalysisPool) -> None:
    with pytest.raises(ServingError, match="knows audio and video only") as refused:
        analyze(pool, None, "text", AnalysisOptions(text="hello"), ignore)
    assert refused.value.http_status == 422


def test_there_is_no_tensorflow_in_the_worker(clip: Path) -> None:
    worker = WorkerProcess(WorkerSettings(CONFIG, None, 4096 * MIB, 600, 60, RECOGNIZER_FACTORY))
    try:
        answer = worker.run(Job(clip, "x", AnalysisOptions(), ignore), forward, 60)
        assert answer["windows"]
        assert worker._child.pid != os.getpid()
        loaded = Path(f"/proc/{worker._child.pid}/maps").read_text()
        assert "cv2" in loaded and "tensorflow" not in loaded
        assert 0 < worker.resident_bytes < 512 * MIB
        assert worker.is_usable
    finally:
        worker.stop()


# === A worker that fails ===


@pytest.fixture(scope="module")
def odd() -> Iterator[AnalysisPool]:
    def add_four(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value + 4 for name, value in inputs.items()}

    pool = AnalysisPool({}, held({}, add_four), None, LIMITS, factory=FAULTY_RECOGNIZER)
    yield pool
    pool.close()


@pytest.fixture
def ask(odd: AnalysisPool, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def ask(words: str, name: str = "their.mp4", on_event: Any = ignore) -> dict[str, Any]:
        (tmp_path / "upload").write_text(words)
        return analyze(odd, tmp_path / "upload", name, AnalysisOptions(), on_event)

    return ask


@pytest.mark.parametrize("death", [f"signal {int(signal.SIGSEGV)}", f"signal {9}", "exit"])
def test_a_crash_is_an_error_and_the_next_one_works(
    death: str, ask: Callable[..., dict[str, Any]]
) -> None:
    before = ask("answer")["process"]
    with pytest.raises(ServingError, match=r"^their\.mp4: its decoder crashed") as crashed:
        ask(death)
    assert crashed.value.http_status == 422
    after = ask("answer")["process"]
    assert after != before
    assert ask("answer")["process"] == after


def test_what_takes_too_long_is_killed(ask: Callable[..., dict[str, Any]]) -> None:
    before = ask("answer")["process"]
    began_s = time.monotonic()
    with pytest.raises(ServingError, match="not done within 3 s") as late:
        ask("hang")
    assert 2.5 < time.monotonic() - began_s < 8
    assert late.value.http_status == 504
    seconds_until(lambda: not Path(f"/proc/{before}").exists())
    assert ask("answer")["process"] != before


def test_what_nobody_waits_for_is_killed(
    odd: AnalysisPool, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    before = ask("answer")["process"]
    (tmp_path / "long").write_text("hang")
    running = odd.submit(tmp_path / "long", "x", AnalysisOptions(), ignore)
    waiting = odd.submit(tmp_path / "long", "x", AnalysisOptions(), ignore)
    seconds_until(running.future.running)
    waiting.cancel()
    running.cancel()
    with pytest.raises(ServingError) as cancelled:
        running.future.result(5)
    assert cancelled.value.code is grpc.StatusCode.CANCELLED
    seconds_until(waiting.future.cancelled)
    assert ask("answer")["process"] != before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("refuse", 422, r"^their\.mp4: no sound in it; use another$"),
        ("misuse", 400, "^the model knows audio only"),
        ("fail", 500, r"^their\.mp4: the analysis failed; the server's log says why$"),
        ("allocate 2000", 422, r"^their\.mp4: needs more than 600 MiB of memory"),
        ("write", 422, r"^their\.mp4: File too large"),
        ("open 601 answer", 413, r"^their\.mp4: 601 s long, at most 600 s are analysed; cut it$"),
    ],
)
def test_a_refusal_keeps_the_worker(
    words: str, status: int, said: str, ask: Callable[..., dict[str, Any]]
) -> None:
    before = ask("answer")["process"]
    with pytest.raises(ServingError, match=said) as refused:
        ask(words)
    assert refused.value.http_status == status
    assert ask("answer")["process"] == before


def test_the_bounds_of_a_worker(ask: Callable[..., dict[str, Any]]) -> None:
    limits = ask("answer")["limits"]
    assert limits == {"DATA": 600 * MIB, "CORE": 0, "FSIZE": MIB, "NOFILE": 256}


def test_a_worker_that_grew_is_replaced(ask: Callable[..., dict[str, Any]]) -> None:
    before = ask("answer")["process"]
    assert ask("keep 10")["process"] == before
    assert ask("answer")["process"] == before
    ask("keep 200")
    assert ask("answer")["process"] != before


def test_the_model_runs_in_the_server(
    odd: AnalysisPool, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ask("answer")["process"]
    assert ask("forward") == {"x": [7]}

    def refusing(inputs: Any) -> Any:
        raise ServingError(grpc.StatusCode.UNAVAILABLE, "being unloaded")

    monkeypatch.setattr(odd, "_lease", held({}, refusing))
    with pytest.raises(ServingError, match="being unloaded") as refused:
        ask("forward")
    assert refused.value.http_status == 503
    assert ask("answer")["process"] == before


@pytest.mark.parametrize("num_refusals", [3, 1000])
def test_a_full_queue_is_asked_again(
    num_refusals: int,
    odd: AnalysisPool,
    ask: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, asked_s = ask("answer")["process"], []

    def full(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked_s.append(time.monotonic())
        if len(asked_s) <= num_refusals:
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full")
        return inputs

    monkeypatch.setattr(odd, "_lease", held({}, full))
    if num_refusals == 3:
        assert ask("forward") == {"x": [3]}
        assert len(asked_s) == 4
    else:
        with pytest.raises(ServingError, match="queue full") as refused:
            ask("forward")
        assert refused.value.http_status == 429
        assert asked_s[-1] - asked_s[0] < LIMITS.max_analysis_s
    waits_s = np.diff(asked_s)
    assert (waits_s[1:] > waits_s[:-1]).all()
    assert ask("answer")["process"] == before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("pickle", 500, "the analysis failed"),
        ("claim", 500, "the analysis failed"),
        ("stall", 504, "not done within 3 s; cut it"),
        ('say event {"event":"result"}', 500, "the analysis failed"),
        ('say event ["start"]', 500, "the analysis failed"),
        ('say refused {"status":200,"line":"x"}', 500, "the analysis failed"),
        ('say done {"result":[]}', 500, "the analysis failed"),
        ('say done {"result":{},"more":1}', 500, "the analysis failed"),
        ("say done {}", 500, "the analysis failed"),
        ("say whatever {}", 500, "the analysis failed"),
    ],
)
def test_a_worker_that_sends_nonsense_is_killed(
    words: str, status: int, said: str, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    before = ask("answer")["process"]
    with pytest.raises(ServingError, match=said) as refused:
        ask(words)
    assert refused.value.http_status == status
    assert ask("answer")["process"] != before
    assert not (tmp_path / "made").exists()


def test_words_alone_are_answered_or_refused_by_the_model(odd: AnalysisPool) -> None:
    words = AnalysisOptions(text="what a day")
    assert analyze(odd, None, "text", words, ignore) == {"path": "text", "words": "what a day"}
    with pytest.raises(ServingError, match=r"^text: words, and the model knows audio") as refused:
        analyze(odd, None, "text", AnalysisOptions(text="none"), ignore)
    assert refused.value.http_status == 422


def test_places_to_arrive_are_others_than_those_to_wait(odd: AnalysisPool) -> None:
    with contextlib.ExitStack() as held_places:
        for _ in range(MAX_RECEIVING):
            held_places.enter_context(odd.receive())
        with pytest.raises(ServingError, match="8 recordings are") as full, odd.receive():
            pass
        assert full.value.http_status == 429
        for _ in range(3):
            held_places.enter_context(odd.admit())
    with contextlib.ExitStack() as held_places:
        for _ in range(3):
            held_places.enter_context(odd.admit())
        with pytest.raises(ServingError, match="3 recordings are"), odd.receive():
            pass
    with odd.receive():
        pass


def test_a_model_of_numbers_of_tokens_takes_no_recordings(clip: Path) -> None:
    config = {**CONFIG, "streams": ["text"], "text_input": "token_ids"}
    pool = AnalysisPool(config, held(config), None, LIMITS, factory=FAULTY_RECOGNIZER)
    try:
        for ask in (
            lambda: pool.receive().__enter__(),
            lambda: pool.submit(clip, "x", AnalysisOptions(), ignore),
        ):
            with pytest.raises(ServingError) as refused:
                ask()
            assert refused.value.http_status == 422
            assert refused.value.message == (
                "this model takes numbers of tokens, no recordings; export it without --text-input"
            )
    finally:
        pool.close()


def units_config(source: str, *streams: str) -> dict[str, Any]:
    preparation = {**CONFIG["preparation"], "action_units": {"source": source, "names": ["AU01_r"]}}
    return {**CONFIG, "streams": list(streams), "preparation": preparation}


def test_a_model_of_openface_alone_takes_no_recordings(clip: Path) -> None:
    config = units_config("openface", "video")
    pool = AnalysisPool(config, held(config), None, LIMITS, factory=FAULTY_RECOGNIZER)
    try:
        with pytest.raises(ServingError, match="takes action units of OpenFace") as refused:
            pool.receive().__enter__()
        assert refused.value.http_status == 422
        with pytest.raises(ServingError, match="send those to :predict"):
            pool.submit(clip, "x", AnalysisOptions(), ignore)
    finally:
        pool.close()


@pytest.mark.parametrize(("source", "streams"), [("mediapipe", 1), ("openface", 2)])
def test_other_models_of_action_units_take_recordings(source: str, streams: int) -> None:
    config = units_config(source, *("video", "audio")[:streams])
    pool = AnalysisPool(config, held(config), None, LIMITS, factory=FAULTY_RECOGNIZER)
    try:
        with pool.receive():
            pass
    finally:
        pool.close()


def test_places_are_counted(odd: AnalysisPool) -> None:
    with odd.admit(), odd.admit():
        with (
            odd.admit(),
            pytest.raises(ServingError, match="3 recordings are") as full,
            odd.admit(),
        ):
            pass
        assert full.value.http_status == 429
        with odd.admit():
            pass


def test_a_listener_that_fails_ends_the_job(
    odd: AnalysisPool, ask: Callable[..., dict[str, Any]]
) -> None:
    def on_event(event: dict[str, Any]) -> None:
        raise ValueError("mine")

    with pytest.raises(ServingError, match="the analysis failed"):
        ask("open 3 answer", on_event=on_event)
    assert ask("answer")["path"] == "their.mp4"


def test_a_recogniser_that_cannot_be_made(tmp_path: Path) -> None:
    pool = AnalysisPool({}, held({}, forward), None, LIMITS, factory=BROKEN)
    try:
        (tmp_path / "upload").write_text("answer")
        for _ in range(2):
            with pytest.raises(ServingError, match="cannot be analysed now") as unable:
                analyze(pool, tmp_path / "upload", "x", AnalysisOptions(), ignore)
            assert unable.value.http_status == 503
    finally:
        pool.close()


def test_no_worker_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "upload").write_text("answer")
    with monkeypatch.context() as broken:
        broken.setattr(analysis_pool, "WorkerProcess", none)
        pool = AnalysisPool({}, held({}, forward), None, LIMITS, factory=FAULTY_RECOGNIZER)
        for _ in range(2):
            job = pool.submit(tmp_path / "upload", "x", AnalysisOptions(), ignore)
            error = job.future.exception(5)
            assert isinstance(error, ServingError)
            assert error.http_status == 503
    try:
        job = pool.submit(tmp_path / "upload", "x", AnalysisOptions(), ignore)
        assert job.future.result(20)["path"] == "x"
    finally:
        pool.close()


def test_a_job_that_breaks_the_thread_is_answered(
    odd: AnalysisPool, ask: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("mine")

    with monkeypatch.context() as broken:
        broken.setattr(odd, "_do", fails)
        with pytest.raises(ServingError, match="the analysis failed"):
            ask("answer")
    assert ask("answer")["path"] == "their.mp4"


def test_a_worker_that_starts_too_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "START_TIMEOUT_S", 0.01)
    (tmp_path / "upload").write_text("answer")
    pool = AnalysisPool({}, held({}, forward), None, LIMITS, factory=FAULTY_RECOGNIZER)
    try:
        with pytest.raises(ServingError, match=r"no worker .* ready within 0.01 s") as late:
            analyze(pool, tmp_path / "upload", "x", AnalysisOptions(), ignore)
        assert late.value.http_status == 503
    finally:
        pool.close()


@pytest.mark.parametrize("drain_s", [0.0, 1.5])
def test_closing_gives_the_time_that_is_left(drain_s: float, tmp_path: Path) -> None:
    limits = dataclasses.replace(LIMITS, drain_s=60.0, max_analysis_s=60.0)
    pool_of = ModelAnalysisPool(
        dict, lambda made: AnalysisPool(made, held(made), None, limits, factory=FAULTY_RECOGNIZER)
    )
    (tmp_path / "upload").write_text("hang")
    job = pool_of().submit(tmp_path / "upload", "x", AnalysisOptions(), ignore)
    seconds_until(job.future.running)
    time.sleep(0.3)
    began_s = time.monotonic()
    pool_of.close(drain_s)
    assert drain_s <= time.monotonic() - began_s < drain_s + 5
    error = job.future.exception(1)
    assert isinstance(error, ServingError)
    assert (error.http_status, error.message[:22]) == (503, "the server is stopping")


def test_closing_lets_nobody_wait(tmp_path: Path) -> None:
    pool = AnalysisPool({}, held({}, forward), None, LIMITS, factory=FAULTY_RECOGNIZER)
    (tmp_path / "upload").write_text("hang")
    jobs = [pool.submit(tmp_path / "upload", "x", AnalysisOptions(), ignore) for _ in range(3)]
    seconds_until(jobs[0].future.running)
    began_s = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - began_s < 6
    codes = [job.future.exception(1) for job in jobs]
    assert [error.http_status for error in codes if isinstance(error, ServingError)] == [
        503,
        503,
        503,
    ]
    with pytest.raises(ServingError, match="stopping"):
        pool.submit(tmp_path / "upload", "x", AnalysisOptions(), ignore)
    assert not [t for t in threading.enumerate() if t in pool._threads]


class Draining:
    """A pool whose `close` lasts until `may_end`."""

    def __init__(self) -> None:
        self.closing, self.may_end = threading.Event(), threading.Event()

    def close(self, drain_s: float | None = None) -> None:
        self.closing.set()
        assert self.may_end.wait(60)


def test_who_asks_for_a_pool_does_not_wait_for_one_that_drains() -> None:
    """The event loop asks, and every client of the server would wait with it."""
    config: dict[str, Any] = {"labels": ["happy"]}
    made: list[Any] = []

    def make(_: dict[str, Any]) -> Any:
        made.append(Draining())
        return made[-1]

    pool_of = ModelAnalysisPool(lambda: config, make)
    with ThreadPoolExecutor(2) as threads:
        ending = threads.submit(pool_of.close, 30.0)
        try:
            assert made[0].closing.wait(60)
            given: Any = threads.submit(pool_of).result(60)
            assert given is made[0]
            config = {"labels": ["sad"]}
            given = threads.submit(pool_of).result(60)
            assert given is made[0], "none is made at the end"
            assert not ending.done()
        finally:
            made[0].may_end.set()
        ending.result(60)
    assert len(made) == 1


def test_closing_does_not_wait_for_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for an answer of the model hears nothing of the end."""
    monkeypatch.setattr(analysis_pool, "THREAD_STOP_TIMEOUT_S", 0.1)
    asked, may_answer = threading.Event(), threading.Event()

    def never(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        asked.set()
        assert may_answer.wait(60)
        return inputs

    pool = AnalysisPool({}, held({}, never), None, LIMITS, factory=FAULTY_RECOGNIZER)
    (tmp_path / "upload").write_text("forward")
    job = pool.submit(tmp_path / "upload", "x", AnalysisOptions(), ignore)
    try:
        assert asked.wait(60)
        pool.close(0.0)
        error = job.future.exception(0)
        assert isinstance(error, ServingError) and error.http_status == 503
        assert any(thread.is_alive() for thread in pool._threads)
    finally:
        may_answer.set()
    for thread in pool._threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in pool._threads)


def test_another_kind_of_model_has_another_pool(tmp_path: Path) -> None:
    (tmp_path / "upload").write_text("answer")
    config = {**CONFIG, "run": "1"}
    pool_of = ModelAnalysisPool(
        lambda: config,
        lambda made: AnalysisPool(made, held(made), None, LIMITS, factory=FAULTY_RECOGNIZER),
    )
    try:
        first = pool_of()
        config = {**CONFIG, "run": "2"}
        assert pool_of() is first
        config = {**CONFIG, "labels": ["calm", "sad"]}
        second = pool_of()
        assert second is not first
        assert analyze(second, tmp_path / "upload", "x", AnalysisOptions(), ignore)["path"] == "x"
        seconds_until(lambda: not any(thread.is_alive() for thread in first._threads))
    finally:
        pool_of.close()
    with pytest.raises(ServingError, match="stopping"), pool_of().admit():
        pass


def test_a_recording_is_not_given_to_another_kind_of_model(tmp_path: Path) -> None:
    (tmp_path / "upload").write_text("answer")
    served = CONFIG
    pool = AnalysisPool(CONFIG, lambda: held(served)(), None, LIMITS, factory=FAULTY_RECOGNIZER)
    try:
        analyze(pool, tmp_path / "upload", "x", AnalysisOptions(), ignore)
        served = {**CONFIG, "labels": ["calm", "sad"]}
        with pytest.raises(ServingError, match="took its place; send it again") as refused:
            analyze(pool, tmp_path / "upload", "x", AnalysisOptions(), ignore)
        assert refused.value.http_status == 503
    finally:
        pool.close()


ORPHAN = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from affectstream.server.analysis.analysis_pool import AnalysisPool
from affectstream.server.analysis.analysis_options import AnalysisOptions
if __name__ == "__main__":
    odd = "tests.support.odd_recognizers:FaultyRecognizer"
    pool = AnalysisPool({}, lambda: nullcontext(({}, None)), factory=odd)
    path = Path(sys.argv[1])
    path.write_text("answer")
    options = AnalysisOptions()
    job = pool.submit(path, "x", options, lambda event: None)
    print(job.future.result()["process"], flush=True)
    path.write_text("hang")
    pool.submit(path, "x", options, lambda event: None).future.result()
"""


def test_a_worker_dies_with_the_server(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    server = subprocess.Popen(
        [sys.executable, script, tmp_path / "upload"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    with server:
        assert server.stdout is not None
        worker = Path("/proc") / server.stdout.readline().decode().strip()
        assert worker.exists()
        time.sleep(0.3)
        server.kill()
        seconds_until(lambda: not worker.exists())


# === Options ===


def test_options_and_their_bounds() -> None:
    assert AnalysisOptions.parse({}) == AnalysisOptions("largest", None, None, None)
    told = {"face": "all", "window_s": "60", "hop_s": "0.1", "text": "hello"}
    assert AnalysisOptions.parse(told) == AnalysisOptions("all", 60.0, 0.1, "hello")
    assert AnalysisOptions.parse({"window_s": "0.5"}) == AnalysisOptions(
        window_s=0.5
    )  # the model's hop


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"fase": "all"}, "'fase': unknown option; known are face, window_s, hop_s, text"),
        ({"face": "smallest"}, "face='smallest': one of largest, all"),
        ({"window_s": "0.1"}, "window_s='0.1': a number from 0.2 to 60"),
        ({"window_s": "nan"}, "window_s='nan'"),
        ({"window_s": "inf"}, "window_s='inf'"),
        ({"hop_s": "x"}, "hop_s='x': a number from 0.1 to 60"),
        ({"window_s": "3", "hop_s": "3.5"}, "hop_s=3.5 must not be above window_s=3"),
        ({"text": "x" * 10_001}, "text: 10001 letters"),
    ],
)
def test_wrong_options_are_named(told: dict[str, str], said: str) -> None:
    with pytest.raises(ServingError) as refused:
        AnalysisOptions.parse(told)
    assert said in refused.value.message
    assert refused.value.http_status == 400
