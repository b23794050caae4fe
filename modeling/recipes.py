"""Recipes: everything that changes the weights of a model, frozen, stored with the run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import registry
from data_augmentation.chain import parse_transforms
from errors import UserError

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained.

    Attributes:
      stream: "audio", "video" or "fusion".
      labels: name of the label set.
      encoder: of a stream; `encoder_settings` are its own arguments.
      features: front end of a stream.
      fusion: of a fusion; `fusion_settings` are its own arguments.
      transforms: augmentation of the training part, e.g. "noise:min_snr_db=10,speed,spec_augment".
      frames_as_examples: video trains on single faces, as S2, rather than on whole clips.
      early_stopping: epochs without a better validation UAR before training ends; 0 never.
      class_weights: weigh classes by the inverse of their frequency in the training part.
      modality_dropout: share of training rows of a fusion in which one stream is hidden.
    """

    name: str
    stream: str
    source: str
    labels: str = "basic7"
    encoder: str = ""
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    features: str = ""
    fusion: str = ""
    fusion_settings: dict[str, Any] = field(default_factory=dict)
    transforms: str = ""
    frames_as_examples: bool = False
    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    label_smoothing: float = 0.0
    early_stopping: int = 0
    class_weights: bool = True
    modality_dropout: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        return cls(**value)

    def with_settings(self, assignments: Sequence[str]) -> Recipe:
        """The recipe with `key=value` words of the command line applied, in order.

        Keys are the recipe's own fields or the arguments of its encoder or fusion.

        Raises:
          UserError: an unknown key, or a value of the wrong kind.
        """
        recipe = self
        for word in assignments:
            key, equals, text = word.partition("=")
            if not equals:
                raise UserError(f"--set {word}: expected key=value")
            recipe = recipe._with_setting(key.strip(), text.strip())
        return recipe.checked()

    def _with_setting(self, key: str, text: str) -> Recipe:
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fixed = {"name", "stream", "source", "encoder_settings", "fusion_settings"}
        if key in own and key not in fixed:
            return dataclasses.replace(self, **{key: _converted(key, text, own[key])})
        kind = "fusion" if self.stream == "fusion" else "encoder"
        arguments = _arguments(kind + "s", getattr(self, kind))
        if key in arguments:
            value = _converted(key, text, arguments[key])
            changed: Any = {f"{kind}_settings": {**getattr(self, f"{kind}_settings"), key: value}}
            return dataclasses.replace(self, **changed)
        known = sorted(own.keys() - fixed) + sorted(arguments)
        raise UserError(f"--set {key}: no such setting; known: {', '.join(known)}")

    def checked(self) -> Recipe:
        """Itself, if every value is one that training can use.

        Raises:
          UserError: names the value that is not.
        """
        for kind, value in (("label-sets", self.labels), ("encoders", self.encoder)):
            if value:
                registry.entry(kind, value)
        if self.fusion:
            registry.entry("fusions", self.fusion)
        if self.features:
            registry.entry("features", self.features)
        for key, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            if getattr(self, key) not in known:
                raise UserError(f"{key}={getattr(self, key)}: must be one of {', '.join(known)}")
        for key in ("epochs", "batch_size", "learning_rate"):
            if getattr(self, key) <= 0:
                raise UserError(f"{key}={getattr(self, key)}: must be above 0")
        for key in ("weight_decay", "label_smoothing", "modality_dropout", "early_stopping"):
            if getattr(self, key) < 0:
                raise UserError(f"{key}={getattr(self, key)}: must be 0 or more")
        fitting = {"audio": ("audio", "features", "batch"), "video": ("video", "batch")}
        for transform in parse_transforms(self.transforms):
            if transform.stream not in fitting.get(self.stream, ()):
                raise UserError(
                    f"transforms={self.transforms}: one is for {transform.stream}, the recipe for"
                    f" {self.stream}; see `list transforms`"
                )
        return self


def _arguments(kind: str, name: str) -> dict[str, Any]:
    """Arguments with a default of an encoder's or fusion's builder."""
    if not name:
        return {}
    parameters = inspect.signature(registry.load(kind, name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _converted(key: str, text: str, like: Any) -> Any:
    """`text` as a value of the same type as the default `like`."""
    kind = type(like)
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise UserError(f"--set {key}={text}: must be true or false")
        return words[text.lower()]
    try:
        return kind(text)
    except ValueError:
        wanted = {int: "whole number", float: "number"}.get(kind, kind.__name__)
        raise UserError(f"--set {key}={text}: must be a {wanted}, like {like}") from None


# === Table ===

S2_AUDIO = Recipe(
    name="s2-audio",
    stream="audio",
    source="S2 (RAVDESS two-stream): 3 s log-mel, ReLU CNN, Adam 1e-3, batch 32, 45 epochs",
    encoder="s2_audio",
    features="s2_16k",
    transforms="noise,speed,time_shift",
    epochs=45,
)

S2_VIDEO = Recipe(
    name="s2-video",
    stream="video",
    source="S2 (RAVDESS two-stream): single faces, ELU CNN, Adam 1e-3, batch 64, 10 epochs",
    encoder="s2_video",
    features="faces",
    transforms="flip",
    frames_as_examples=True,
    epochs=10,
    batch_size=64,
)

S2_TWO_STREAM = Recipe(
    name="s2-two-stream",
    stream="fusion",
    source="S2 (RAVDESS two-stream): sum of the two softmaxes",
    fusion="sum",
)

LATE_FUSION = Recipe(
    name="late-fusion",
    stream="fusion",
    source="temperature a stream (Guo et al. 2017) and weighted log-probabilities, on validation",
    fusion="calibrated_late",
)

DENSE_FUSION = Recipe(
    name="dense-fusion",
    stream="fusion",
    source="dense layers over the concatenated embeddings, one stream hidden at random",
    fusion="dense",
    epochs=60,
    early_stopping=15,
    modality_dropout=0.3,
)

# What `train --stream X` takes when no recipe is named.
DEFAULTS = {"audio": "s2-audio", "video": "s2-video", "fusion": "late-fusion"}
