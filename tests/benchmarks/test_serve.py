"""The server's benchmarks: load and malformed requests, tiny, and that they fail when they must."""

from __future__ import annotations

import os
import queue
import shutil
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from affectstream.serving.export.wav_bytes import to_wav
from benchmarks import inputs, served
from benchmarks.robustness import damage, serve_malformed
from benchmarks.speed import load_clients, serve_load
from benchmarks.speed.load_clients import ClientChannels, ClientPool, ClientStats
from tests.support.bundles import copy_with_other_weights
from tests.support.tables import printed_rows

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmarks find the same made clips."""
    return tmp_path_factory.mktemp("serve-benchmarks")


# === Each of them, tiny ===


def test_serve_load_benchmark_answers_all_and_misses_none(
    exported: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "model", tmp_path / "table.md"
    shutil.copytree(exported / "1", model / "1")
    copy_with_other_weights(exported / "1", model / "2")
    words = ["--quick", "--model", str(model), "--seconds", "1.5", "--clients", "1"]
    code = serve_load.main([*words, "--work", str(work), "--out", str(out)])
    rows = {row[0]: row[1:] for row in printed_rows(capsys, out)}
    assert code == int("**missed**" in out.read_text("utf-8"))  # speed and memory vary here
    assert rows["requests answered"][2] == "met"
    assert rows["wrong answers"] == ["0", "0", "met"]
    assert rows["failed requests"] == ["0", "0", "met"]
    assert float(rows["windows a second over gRPC"][0]) > 0
    text = out.read_text("utf-8")
    assert " at 8 rows; " in text and " at 16 rows " in text
    assert "differ by up to 0 " not in text


def test_serve_malformed_benchmark_finds_no_fault(
    exported: Path, work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.md"
    words = ["--quick", "--model", str(exported), "--each", "3", "--work", str(work)]
    assert serve_malformed.main([*words, "--out", str(out)]) == 0
    rows = printed_rows(capsys, out)
    assert [row[0] for row in rows] == [
        "JSON",
        "protobuf",
        "WAV in `serve_bytes`",
        "media to `/v1/analyze`",
    ]
    for _, told, faults, right, verdict in rows:
        assert sum(int(part.split(": ")[1]) for part in told.split(", ")) == 3
        assert (faults, right, verdict) == ("0", "1 of 1", "met")


def test_a_missed_target_is_an_exit_code() -> None:
    good, slow = (
        ClientStats([0.01] * 50, {1: 25, 2: 25}),
        ClientStats([0.02] * 50, {1: 50}, num_wrong=1),
    )
    bare = serve_load.BareModel([], 8, 1.0)
    bare.found = {8: [300.0, 500.0], 16: [100.0, 600.0]}
    assert bare.best == 400
    met = serve_load.Load(1.0, [good], (1000, 1040, 1200, 1210))
    assert served.exit_code(serve_load._lines(met, 8, bare)) == 0
    for found in (
        serve_load.Load(1.0, [slow], (1000, 1040, 1200, 1210)),  # one version, a wrong answer
        serve_load.Load(1.0, [good], (1000, 1000, 1200, 1270)),  # memory
        serve_load.Load(2.0, [good], (1000, 1040, 1200, 1210)),  # speed
        serve_load.Load(1.0, [ClientStats(num_failed=3)], (1000, 1000, 1000, 1000)),
    ):
        assert served.exit_code(serve_load._lines(found, 8, bare)) == 1


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (200, "{}", "200"),
        (400, '{"error": "x"}', "400"),
        (400, "x", "FAULT no reason given"),
        (429, '{"error": "x"}', "FAULT 429"),
        (408, '{"error": "x"}', "FAULT 408"),
        (500, '{"error": "x"}', "FAULT 500"),
    ],
)
def test_what_counts_as_handled(status: int, text: str, told: str) -> None:
    assert serve_malformed.judged(status, text).startswith(told)


# === Clients that fail ===


def telling(said: str, first: int, signals: ClientChannels) -> None:
    signals.said.put(None)
    signals.go.wait()
    if said == "die":
        os._exit(3)
    signals.said.put(said)


@pytest.mark.parametrize(
    ("said", "reason"), [("KeyError: 7", "failed: KeyError: 7"), ("die", "died with exit code 3")]
)
def test_a_failed_client_ends_the_run_at_once(said: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=reason), ClientPool(telling, (said,), 1) as crew:
        began_s = time.monotonic()
        try:
            while time.monotonic() - began_s < 60:
                crew.listen(0.2)
        finally:
            assert time.monotonic() - began_s < 30


def test_a_client_says_why_it_failed() -> None:
    said: queue.Queue[Any] = queue.Queue()
    batches: Any = [{"audio": None}]
    load_clients.client(
        "127.0.0.1:1", batches, {}, 0, ClientChannels(threading.Event(), None, said)
    )
    assert "Error: " in said.get_nowait()


def test_answers_are_judged_by_their_version() -> None:
    answer = predict_pb2.PredictResponse()
    answer.model_spec.version.value = 2
    answer.outputs["probabilities"].CopyFrom(tf.make_tensor_proto([[0.25, 0.75]]))
    right = np.array([[0.25, 0.75]], np.float32)
    tally = ClientStats()
    load_clients._judge(answer, {1: [right + 1], 2: [right, right + 1e-3, right[0]]}, 0, tally)
    assert (tally.by_version, tally.num_wrong) == ({2: 1}, 0)
    for wrong in (1, 2):
        load_clients._judge(answer, {2: [right, right + 1e-3, right[:, :1]]}, wrong, tally)
    assert (tally.by_version, tally.num_wrong) == ({2: 3}, 2)
    with pytest.raises(ValueError, match="version 2 answered"):
        load_clients._judge(answer, {1: [right]}, 0, tally)


# === Damage ===


def a_wav() -> bytes:
    return to_wav(np.arange(200, dtype=np.int16), 16_000)


def test_chunks_of_a_wav() -> None:
    data = a_wav()
    whole, form, samples = damage.chunks_of(data)
    assert (whole.kind, form.kind, samples.kind) == ("RIFF", "fmt ", "data")
    assert data[form.content : form.content + 2] == b"\x01\x00"
    assert (samples.size, samples.end) == (400, len(data))
    assert struct.unpack_from("<I", data, samples.size_at) == (400,)


def test_boxes_of_a_video(work: Path) -> None:
    data = inputs.clips(work, is_quick=True)[0][0].path.read_bytes()
    parts = damage.chunks_of(data)
    kinds = {part.kind for part in parts}
    assert {"ftyp", "moov", "trak", "stsd", "avc1", "stts", "stsc", "stsz", "stco"} <= kinds
    top = [part for part in parts if part.kind in ("ftyp", "free", "mdat", "moov")]
    assert sum(part.end - part.start for part in top) == len(data)
    for part in parts:
        assert data[part.kind_at : part.kind_at + 4] == part.kind.encode("latin-1")
    whole = {part.kind: part for part in parts}
    for inside, outside in (("stsd", "stbl"), ("stbl", "minf"), ("trak", "moov")):
        assert whole[outside].content <= whole[inside].start < whole[inside].end
        assert whole[inside].end <= whole[outside].end


def size_of(data: bytes, part: damage.FileChunk) -> bytes:
    return data[part.size_at : part.size_at + 4]


def test_every_part_is_made_to_lie(work: Path) -> None:
    data = inputs.clips(work, is_quick=True)[0][0].path.read_bytes()
    parts = damage.chunks_of(data)
    sizes, rng = set(), np.random.default_rng(0)
    lengths = set()
    for _ in range(1500):
        made = damage.corrupt_chunk(rng, data)
        lengths.add((len(made) > len(data)) - (len(made) < len(data)))
        if len(made) == len(data):
            sizes |= {
                p.kind for p in parts if made[p.size_at : p.kind_at] != data[p.size_at : p.kind_at]
            }
    assert {"moov", "stsd", "stts", "stsz", "stco", "mdat", "ftyp"} <= sizes
    assert lengths == {-1, 0, 1}
    again = damage.corrupt_chunk(np.random.default_rng(5), data)
    assert again == damage.corrupt_chunk(np.random.default_rng(5), data)


def test_what_is_no_container_is_damaged_anywhere() -> None:
    made = [
        damage.corrupt_chunk(np.random.default_rng(seed), b"\x1aE\xdf\xa3" * 9)
        for seed in range(20)
    ]
    assert len(set(made)) > 10
    for cut in range(60):  # also what has been cut already
        damage.corrupt_chunk(np.random.default_rng(cut), a_wav()[:cut])
