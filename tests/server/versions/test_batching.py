"""The batcher on a made-up model: merging, pieces, isolation, limits, an orderly end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from affectstream.server.errors import ServingError, invalid
from affectstream.server.limits import ServerLimits
from affectstream.server.metrics import Metrics
from affectstream.server.versions.arrays import Arrays
from affectstream.server.versions.batching import NUM_THREADS, Batcher
from affectstream.serving.export.warmup import InputSpec

SIGNATURES = {
    "sum": {"x": InputSpec("float32", (None, None))},
    "other": {"x": InputSpec("float32", (None, None))},
}
LONG_S = 60.0
SOON_S = 20.0  # within which a test's answers come; passes at once unless something hangs


class Model:
    """Adds up rows; refuses -1, breaks on -2; can be held."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, int]] = []
        self.entered = threading.Semaphore(0)
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, signature: str, inputs: Arrays) -> Arrays:
        values = inputs["x"]
        self.ran.append((signature, len(values)))
        self.entered.release()
        self.may_go.wait(LONG_S)
        if (values == -1).any():
            raise invalid(f"row {np.argwhere(values == -1)[0][0]}: bad")
        if (values == -2).any():
            raise OSError("/secret/path")
        if signature == "other":
            return {"sum": values.sum()}
        return {"sum": values.sum(axis=1), "tag": np.array([b"t"] * len(values), object)}


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.may_go.set()


def batcher(model: Model, **limits: Any) -> Batcher:
    chosen = replace(ServerLimits(batch_wait_s=LONG_S), **limits)
    return Batcher(model, SIGNATURES, chosen, Metrics("m"))


def rows(*values: float, length: int = 1) -> Arrays:
    made = np.zeros((len(values), length), np.float32)
    made[:, 0] = values
    return {"x": made}


def sums(answer: Future[Arrays]) -> list[float]:
    return answer.result(SOON_S)["sum"].tolist()


def code_of(answer: Future[Arrays]) -> grpc.StatusCode:
    error = answer.exception(SOON_S)
    assert isinstance(error, ServingError)
    return error.code


def hold(model: Model, made: Batcher) -> list[Future[Arrays]]:
    """Keeps every thread of the batcher busy."""
    model.may_go.clear()
    answers = []
    for number in range(NUM_THREADS):
        answers.append(made.submit("sum", rows(number)))
        assert model.entered.acquire(timeout=SOON_S)
    return answers


def test_requests_share_a_batch_and_get_their_own_rows(model: Model) -> None:
    made = batcher(model, max_batch_rows=4)
    answers = [made.submit("sum", rows(1, length=3)), made.submit("sum", rows(2, 3, 4))]
    assert [sums(answer) for answer in answers] == [[1], [2, 3, 4]]
    assert answers[1].result()["tag"].tolist() == [b"t"] * 3
    assert model.ran == [("sum", 4)]
    made.close()


def test_a_full_batch_does_not_wait_and_the_next_begins_anew(model: Model) -> None:
    made = batcher(model, max_batch_rows=3)
    answers = [made.submit("sum", rows(*[number] * 2)) for number in range(3)]
    assert sums(answers[0]) == [0, 0] and sums(answers[1]) == [1, 1]
    made.close()  # the third waits for company until then
    assert sums(answers[2]) == [2, 2]
    assert sorted(model.ran) == [("sum", 2)] * 3


def test_bytes_bound_a_batch(model: Model) -> None:
    made = batcher(model, max_batch_bytes=4000)
    answers = [made.submit("sum", rows(1, length=600)), made.submit("sum", rows(2, length=600))]
    assert sums(answers[0]) == [1]
    made.close()
    assert sums(answers[1]) == [2] and len(model.ran) == 2


def test_a_lone_request_waits_only_so_long(model: Model) -> None:
    made = batcher(model, batch_wait_s=0.001)
    assert sums(made.submit("sum", rows(5))) == [5]
    made.close()


def test_a_large_request_runs_in_pieces(model: Model) -> None:
    made = batcher(model, max_batch_rows=4)
    assert sums(made.submit("sum", rows(*range(10)))) == list(range(10))
    assert [number for _, number in model.ran] == [4, 4, 2]
    wrong = made.submit("sum", rows(*[0] * 6, -1))
    assert code_of(wrong) is grpc.StatusCode.INVALID_ARGUMENT
    assert "rows from 4 on, counted from there: row 2: bad" in str(wrong.exception())
    made.close()


def test_one_bad_request_harms_no_other(model: Model) -> None:
    made = batcher(model, max_batch_rows=8)
    answers = [made.submit("sum", rows(value)) for value in (1, 2, -1, 4, 5, 6, -2, 8)]
    good = [sums(answers[number]) for number in (0, 1, 3, 4, 5, 7)]
    assert good == [[1], [2], [4], [5], [6], [8]]
    assert model.ran[0] == ("sum", 8)
    assert str(answers[2].exception(SOON_S)) == "row 0: bad"
    assert code_of(answers[2]) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(answers[6]) is grpc.StatusCode.INTERNAL
    assert "secret" not in str(answers[6].exception())
    made.close()


def test_signatures_are_not_mixed_and_outputs_need_rows(model: Model) -> None:
    made = batcher(model, max_batch_rows=2)
    first, odd = made.submit("sum", rows(1)), made.submit("other", rows(1))
    second = made.submit("sum", rows(2))
    assert sums(first) == [1] and sums(second) == [2]
    made.close()
    assert code_of(odd) is grpc.StatusCode.INTERNAL  # a scalar belongs to no row
    assert sorted(model.ran) == [("other", 1), ("sum", 2)]


def test_a_full_queue_refuses(model: Model) -> None:
    made = batcher(model, max_batch_rows=1, max_queued_rows=2)
    answers = hold(model, made)
    answers += [made.submit("sum", rows(10)), made.submit("sum", rows(11))]
    with pytest.raises(ServingError, match="2 rows wait already") as caught:
        made.submit("sum", rows(12))
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.http_status == 429
    model.may_go.set()
    assert [sums(answer) for answer in answers] == [[0], [1], [10], [11]]
    assert sums(made.submit("sum", rows(13))) == [13]
    made.close()


def test_what_can_never_fit_is_refused_as_wrong(model: Model) -> None:
    made = batcher(model, max_queued_rows=3, max_batch_bytes=1000)
    for wrong in (rows(1, 2, 3, 4), rows(1, length=300)):
        with pytest.raises(ServingError, match="at most") as caught:
            made.submit("sum", wrong)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(ServingError, match='Serving signature name: "no" not found in signature'):
        made.submit("no", rows(1))
    made.close()


def test_overdue_and_cancelled_requests_are_not_run(model: Model) -> None:
    made = batcher(model, max_batch_rows=1)
    held = hold(model, made)
    late = made.submit("sum", rows(10), timeout_s=0)
    given_up = made.submit("sum", rows(11))
    assert given_up.cancel()
    last = made.submit("sum", rows(12))
    model.may_go.set()
    assert code_of(late) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [sums(answer) for answer in (*held, last)] == [[0], [1], [12]]
    made.close()
    assert len(model.ran) == 3


def test_closing_answers_what_waits_and_takes_no_more(model: Model) -> None:
    made = batcher(model, max_batch_rows=1)
    answers = hold(model, made)
    answers += [made.submit("sum", rows(10 + number)) for number in range(3)]
    closing = threading.Thread(target=made.close)
    closing.start()
    model.may_go.set()
    closing.join(SOON_S)
    assert not closing.is_alive()
    assert [sums(answer) for answer in answers] == [[0], [1], [10], [11], [12]]
    with pytest.raises(ServingError) as caught:
        made.submit("sum", rows(1))
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert not [thread for thread in made._threads if thread.is_alive()]


def test_closing_need_not_wait_for_the_model(model: Model) -> None:
    made = batcher(model, max_batch_rows=1)
    held = hold(model, made)
    made.close(0.0)
    assert not any(answer.done() for answer in held)
    model.may_go.set()
    made.close()
    assert all(answer.done() for answer in held)


def test_what_happened_is_counted(model: Model) -> None:
    metrics = Metrics("m")
    made = Batcher(model, SIGNATURES, ServerLimits(batch_wait_s=0), metrics)
    sums(made.submit("sum", rows(1, 2, 3)))
    with pytest.raises(ServingError), metrics.time_request("REST", "Predict"):
        made.submit("sum", rows(*[1] * 1000))
    made.close()
    text = metrics.text().decode()
    assert 'tensorflow_serving_batch_size_sum{model_name="m",signature="sum"} 3.0' in text
    assert 'affectstream_queued_rows{model_name="m"} 0.0' in text
    assert 'affectstream_rejected_total{model_name="m",reason="too_large"} 1.0' in text
    refused = 'model_name="m",status="INVALID_ARGUMENT"'
    assert f":tensorflow:serving:request_count{{{refused}}} 1.0\n" in text
    named = f'entrypoint="REST",method="Predict",{refused}'
    assert f"affectstream_requests_total{{{named}}} 1.0\n" in text
    assert ":tensorflow:serving:request_latency_count{" not in text  # of answered ones alone
    assert "process_resident_memory_bytes" in text


def test_requests_are_counted_as_tensorflow_serving_does() -> None:
    metrics = Metrics("m")
    metrics.count_request("REST", "Predict", "OK", 0.5e-3)
    metrics.count_request("REST", "GetModelStatus", "OK", 1e-6)
    metrics.count_request("GRPC", "Predict", "OK", 20.0)
    metrics.count_request("GRPC", "GetModelStatus", "OK", 1.0)  # there it is not counted
    with pytest.raises(asyncio.CancelledError), metrics.time_request("GRPC", "Predict"):
        raise asyncio.CancelledError
    with pytest.raises(KeyError), metrics.time_request("REST", "Predict"):
        raise KeyError
    lines = metrics.text().decode().splitlines()
    count = ":tensorflow:serving:request_count"
    assert f"# TYPE {count} counter" in lines
    assert sorted(line for line in lines if line.startswith(count)) == [
        f'{count}{{model_name="m",status="CANCELLED"}} 1.0',
        f'{count}{{model_name="m",status="INTERNAL"}} 1.0',
        f'{count}{{model_name="m",status="OK"}} 3.0',
    ]
    latency = ":tensorflow:serving:request_latency"
    assert f"# TYPE {latency} histogram" in lines
    for api, protocol, sum_us in (
        ("predict", "REST", "500.0"),
        ("", "REST", "1.0"),
        ("Predict", "GRPC", "2e+07"),
    ):
        labels = f'{{API="{api}",entrypoint="{protocol}",model_name="m"}}'
        assert f"{latency}_sum{labels} {sum_us}" in lines
        assert f"{latency}_count{labels} 1.0" in lines
    bounds = [line for line in lines if line.startswith(f'{latency}_bucket{{API="predict"')]
    assert len(bounds) == 33 + 1
    assert 'le="10.0"' in bounds[0] and 'le="18.0"' in bounds[1] and 'le="+Inf"' in bounds[-1]
    assert [line.split()[-1] for line in bounds[:7]] == ["0.0"] * 7  # 10 * 1.8**6 = 340
    assert [line.split()[-1] for line in bounds[7:]] == ["1.0"] * 27
    assert not [line for line in lines if line.startswith(latency) and "_created" in line]
