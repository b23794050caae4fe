"""What the tests of encoders build: a small and a full size of each row of the registry.

Imports no network library, so that a process on another back end can read it too.
"""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from affectstream.core import registry


@dataclass(frozen=True)
class Case:
    """How one encoder is tested.

    Attributes:
      shape: small features, None for frames of any number.
      full_shape: as its recipe gives them, at which `parameters` are counted with 7 classes.
      num_frames: of the examples where it takes a mask, None where it takes none.
      settings: of every build; pretrained encoders start from nothing.
      scale: deviation of the examples.
      thin: attributes of the encoder's module, replaced while a small one is built so that it is
        narrow and short; the full one is counted.
      max_steps: to learn one batch by heart; 0 leaves that out.
      has_half_precision: whether it is tried in float16 too.
      vocabulary_size, full_vocabulary_size: of encoders of tokens, small and as counted; else 0.
      embedding: its argument that sets the width of the embedding, "" where it has none.
    """

    shape: tuple[Any, ...]
    full_shape: tuple[Any, ...]
    parameters: int
    num_frames: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    thin: dict[str, Any] = field(default_factory=dict)
    max_steps: int = 60
    has_half_precision: bool = False
    vocabulary_size: int = 0
    full_vocabulary_size: int = 0
    embedding: str = "embedding_dim"

    def full_settings(self) -> dict[str, Any]:
        """What the counted one is built with."""
        given = {"vocabulary_size": self.full_vocabulary_size} if self.vocabulary_size else {}
        return {**({"weights": "none"} if "weights" in self.settings else {}), **given}


_SPECTROGRAM = (128, 282, 1)
_FROM_NOTHING = {"weights": "none"}
_SMALL_BERT = {**_FROM_NOTHING, "num_layers": 2, "num_heads": 2, "intermediate_dim": 16}
_WORDS: dict[str, Any] = {"vocabulary_size": 12, "full_vocabulary_size": 20_000}
_PIECES: dict[str, Any] = {"vocabulary_size": 12, "full_vocabulary_size": 30_522}

CASES: dict[str, Case] = {
    "relu_cnn": Case((32, 48, 1), _SPECTROGRAM, 387_335),
    "elu_cnn": Case((None, 32, 32, 1), (None, 112, 112, 1), 2_030_215, num_frames=4),
    "resnet_face": Case(
        (None, 32, 32, 1),
        (None, 48, 48, 1),
        693_719,
        num_frames=4,
        thin={"BLOCKS": ((8, 2), (8, 1), (6, 2))},
        embedding="",
    ),
    "convlstm": Case((None, 32, 32, 1), (None, 112, 112, 1), 225_223, num_frames=4),
    "action_units": Case((None, 10), (None, 35), 23_047, num_frames=4),
    "alexnet": Case((57, 64, 1), _SPECTROGRAM, 5_368_807, has_half_precision=True),
    "resnet_asp": Case(
        (32, 40, 1),
        (80, 301, 1),
        257_591,
        settings={"channels": "8,3"},
        thin={"STRIDES": ((2, 2), (1, 1))},
        max_steps=250,
        embedding="",
    ),
    "resnet34": Case(
        (32, 40, 1),
        _SPECTROGRAM,
        21_299_015,
        thin={"STAGES": ((8, 2, 1), (16, 1, 2), (24, 1, 2))},
    ),
    # VGG19 without batch normalisation does not learn from nothing in a few steps, and 20 million
    # weights are slow; test_pretrained.py shows that its gradients reach what they should.
    "vgg19": Case(
        (32, 40, 1), _SPECTROGRAM, 20_157_511, settings=_FROM_NOTHING, scale=80.0, max_steps=0
    ),
    "yamnet": Case(
        (3, 96, 64),
        (6, 96, 64),
        3_481_543,
        num_frames=3,
        settings=_FROM_NOTHING,
        thin={
            "STEM": (8, 2),
            "SEPARABLE": ((16, 1), (16, 2), (24, 1), (32, 2)),
        },
        has_half_precision=True,
    ),
    "resnet1d": Case(
        (40,),
        (276,),
        15_415_495,
        thin={"STAGES": ((8, 1), (16, 2), (24, 2))},
    ),
    "conv1d": Case((None, 10), (None, 52), 190_599, num_frames=4, has_half_precision=True),
    "lstm": Case((None, 10), (None, 52), 110_087, num_frames=4, has_half_precision=True),
    "linear": Case((6,), (276,), 1_939, settings={"dropout": 0.3}, max_steps=400, embedding=""),
    "text_cnn": Case((None,), (None,), 2_807_303, num_frames=5, **_WORDS),
    "text_transformer": Case((None,), (None,), 2_908_167, num_frames=5, **_WORDS),
    "bert": Case(
        (None,),
        (None,),
        109_487_623,
        num_frames=5,
        settings=_SMALL_BERT,
        embedding="hidden_dim",
        **_PIECES,
    ),
    "distilbert": Case(
        (None,),
        (None,),
        66_958_855,
        num_frames=5,
        settings=_SMALL_BERT,
        embedding="hidden_dim",
        **_PIECES,
    ),
    "tinybert": Case(
        (None,),
        (None,),
        7_325_575,
        num_frames=5,
        settings=_FROM_NOTHING,
        thin={"TINYBERT": (2, 6, 2, 16)},
        max_steps=250,
        embedding="",
        vocabulary_size=12,
        full_vocabulary_size=8_000,
    ),
}


def build(name: str, num_classes: int, embedding_dim: int, **settings: Any) -> Any:
    """The small model of one encoder."""
    case = CASES[name]
    module = importlib.import_module(registry.entry("encoders", name).target.split(":")[0])
    tokens = {"vocabulary_size": case.vocabulary_size} if case.vocabulary_size else {}
    width = {case.embedding: embedding_dim} if case.embedding else {}
    with contextlib.ExitStack() as stack:
        for attribute, value in case.thin.items():
            stack.enter_context(mock.patch.object(module, attribute, value))
        return registry.load("encoders", name)(
            case.shape,
            num_classes,
            **{**case.settings, **tokens, **width, **settings},
        )
