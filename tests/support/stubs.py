"""What stands in for the costly parts of a training where a test is about something else."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

_PLOTS = ("curves", "confusion", "reliability", "risk_coverage")
# The scores of every epoch of a stub training: the first is the best.
EPOCH = {"loss": 2.0, "wa": 0.5, "uar": 0.5, "seconds": 1.0, "input_wait_share": 0.0}
VALIDATION = {"val_loss": 2.0, "val_wa": 0.5, "val_uar": 0.5}


class Pictures:
    """The pictures of runs and scores, each half a second of work: one dot unless drawn.

    Time lines are always drawn.
    """

    def __init__(self) -> None:
        from affectstream.core import atomic_io
        from affectstream.modeling.metrics import plots

        self._plots = plots
        self._drawn = {name: getattr(plots, name) for name in _PLOTS}

        dot = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()

        def undrawn(draw: Callable[..., None]) -> Callable[..., None]:
            def write(*given: Any, **named: Any) -> None:
                path = inspect.signature(draw).bind(*given, **named).arguments["path"]
                with atomic_io.atomic_write(path) as temporary:
                    temporary.write_bytes(dot)

            return write

        self._undrawn = {name: undrawn(draw) for name, draw in self._drawn.items()}

    @contextlib.contextmanager
    def undrawn(self) -> Iterator[None]:
        with self._replaced(self._undrawn):
            yield

    @contextlib.contextmanager
    def drawn(self) -> Iterator[None]:
        with self._replaced(self._drawn):
            yield

    @contextlib.contextmanager
    def _replaced(self, functions: dict[str, Callable[..., None]]) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, function in functions.items():
                patch.setattr(self._plots, name, function)
            yield


@contextlib.contextmanager
def stub_trainer() -> Iterator[None]:
    """Trainings whose epochs pass without a step: weights stay, every epoch has the same scores.

    All else is real: data, model, checkpoints, history, calibration.
    """
    from affectstream.modeling.training.trainer import Trainer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", lambda *_: dict(EPOCH))
        patch.setattr(Trainer, "evaluate", lambda *_: dict(VALIDATION))
        yield
