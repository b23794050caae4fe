"""Recipes: everything that affects the weights of a model; frozen and stored with the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.core.key_value import parse_value
from affectstream.data_augmentation.chain import parse_transforms
from affectstream.modeling.recipes.settings import (
    builder_defaults,
    parse_assignment,
    text_feature_defaults,
)

OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine")
KEEP_EPOCH_CHOICES = ("best", "last")
# Larger ensembles would not fit into memory and gain nothing.
MAX_ENSEMBLE_SIZE = 20
# Each speed costs as much as a model without test-time augmentation.
MIN_TTA_SPEED, MAX_TTA_SPEED, MAX_NUM_TTA_SPEEDS = 0.5, 2.0, 9
# The default recipe of `train --stream X`.
DEFAULT_RECIPES = {
    "audio": "relu-cnn-audio",
    "video": "elu-cnn-video",
    "text": "text-cnn",
    "fusion": "late-fusion",
}
# Which transforms fit which stream.
_TRANSFORM_STREAMS = {
    "audio": ("audio", "features", "batch"),
    "video": ("video", "batch"),
    "text": ("text",),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How any network is trained, of a stream or of a fusion.

    Attributes:
      early_stopping_patience: epochs without a better validation UAR before training ends; 0
        disables it.
      class_weights: weigh classes by the inverse of their frequency in the training split.
      ema_momentum: momentum of a moving average of the weights, which is validated and stored
        (Polyak & Juditsky 1992); 0 stores the weights themselves.
      keep_epoch: the epoch whose weights are stored: "best" on validation, or "last", which ignores
        validation and relies on the schedule.
      freeze_epochs: first epochs, in which pretrained layers are frozen; afterwards the whole
        network is fine-tuned at `fine_tune_lr_factor` times the learning rate.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    label_smoothing: float = 0.0
    early_stopping_patience: int = 0
    class_weights: bool = True
    ema_momentum: float = 0.0
    keep_epoch: str = "best"
    freeze_epochs: int = 0
    fine_tune_lr_factor: float = 0.1

    def validate(self) -> None:
        """Raises UserError for the first value that training cannot use."""
        _require_choice(self, "optimizer", OPTIMIZERS)
        _require_choice(self, "schedule", SCHEDULES)
        _require_choice(self, "keep_epoch", KEEP_EPOCH_CHOICES)
        _require_positive(self, "epochs", "batch_size", "learning_rate", "fine_tune_lr_factor")
        _require_not_negative(
            self,
            "freeze_epochs",
            "weight_decay",
            "label_smoothing",
            "early_stopping_patience",
            "ema_momentum",
        )
        if self.freeze_epochs and self.schedule != "constant":
            raise UserError(f"freeze_epochs={self.freeze_epochs}: goes with schedule=constant only")
        if self.ema_momentum >= 1:
            raise UserError(f"ema_momentum={self.ema_momentum}: must be below 1")
        if self.keep_epoch == "last" and self.early_stopping_patience:
            raise UserError("keep_epoch=last: goes with early_stopping_patience=0 only")


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """Common base of stream and fusion recipes.

    Attributes:
      summary: one line for `list recipes`.
      source: paper or system.
      labels: name of the label set.
    """

    name: str
    summary: str = field(default="", compare=False)
    source: str = ""
    labels: str = "basic7"
    training: TrainingSettings = TrainingSettings()

    def as_json(self) -> dict[str, Any]:
        """The recipe as stored in a run."""
        value = dataclasses.asdict(self)
        del value["summary"]
        return value

    def with_training(self, **changes: Any) -> Self:
        """The recipe with other training settings, not validated."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, **changes))

    def with_settings(self, assignments: Sequence[str]) -> Self:
        """The recipe with `key=value` settings of the command line applied in order.

        Keys are fields of the recipe and its training, or arguments of its builders.

        Raises:
          UserError: an unknown key, or a value of the wrong kind.
        """
        recipe = self
        for word in assignments:
            recipe = recipe._with_setting(*parse_assignment(word))
        return recipe.validate()

    def _with_setting(self, key: str, text: str) -> Self:
        groups = self._settable()
        for group, defaults in groups.items():
            if key not in defaults:
                continue
            value = parse_value(f"--set {key}", text, type(defaults[key]), defaults[key])
            if not group:
                return dataclasses.replace(self, **{key: value})
            if group == "training":
                return self.with_training(**{key: value})
            changed: Any = {group: {**getattr(self, group), key: value}}
            return dataclasses.replace(self, **changed)
        known = [name for defaults in groups.values() for name in sorted(defaults)]
        raise UserError(f"--set {key}: no such setting; known: {', '.join(known)}")

    def _settable(self) -> dict[str, dict[str, Any]]:
        """Maps field name ("" for the recipe itself) -> setting -> value or default."""
        fixed = ("name", "summary", "source", "stream")
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        simple = {
            key: value
            for key, value in own.items()
            if isinstance(value, str | int | float) and key not in fixed
        }
        return {"": simple, "training": dataclasses.asdict(self.training)}

    def validate(self) -> Self:
        """Returns the recipe if training can use every value.

        Raises:
          UserError: names the first unusable value.
        """
        registry.entry("label-sets", self.labels)
        self.training.validate()
        return self


@dataclass(frozen=True, kw_only=True)
class StreamRecipe(_Recipe):
    """How the model of one stream is built and trained.

    Attributes:
      stream: "audio", "video" or "text".
      encoder: name in the registry; `encoder_settings` are arguments of its builder.
      features: front end in the registry; `features_settings` are fields of a text front end.
      transforms: augmentation of the training split, e.g. "noise:min_snr_db=10,speed,spec_augment".
      frames_as_examples: a video recipe trains on single faces instead of whole clips.
      cached_augmentations: augmented copies of each clip whose features are computed once and
        cached; each epoch draws one of them. 0 augments again in each epoch. Audio recipes only.
      ensemble_size: number of networks that are trained separately, each with its own seed, and
        whose logits are averaged (Lakshminarayanan et al. 2017).
      tta_speeds: test-time augmentation of audio: "0.9,1,1.1" averages the logits of the clip at
        these speeds; training is unchanged. "" disables it.
    """

    stream: str
    encoder: str
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    features: str
    features_settings: dict[str, Any] = field(default_factory=dict)
    transforms: str = ""
    frames_as_examples: bool = False
    cached_augmentations: int = 0
    ensemble_size: int = 1
    tta_speeds: str = ""

    @property
    def stream_recipes(self) -> tuple[str, ...]:
        """Always empty: only a fusion has stream recipes."""
        return ()

    @property
    def pretrained(self) -> str:
        """Weights that the encoder starts from; "none" if it has no such setting."""
        defaults = builder_defaults("encoders", self.encoder)
        return str(self.encoder_settings.get("weights", defaults.get("weights", "none")))

    @property
    def is_ensemble(self) -> bool:
        """Whether the model combines networks that are trained as `single_network`."""
        return self.ensemble_size > 1 or bool(self.tta_speeds)

    @property
    def single_network(self) -> StreamRecipe:
        """The recipe of one network, without test-time augmentation."""
        return dataclasses.replace(self, ensemble_size=1, tta_speeds="")

    @property
    def ensemble_label(self) -> str:
        """Display suffix of an ensemble, e.g. ", 3 networks averaged"; "" for a single network."""
        return ensemble_label(self.ensemble_size, len(self.tta_speed_values))

    @property
    def tta_speed_values(self) -> tuple[float, ...]:
        """`tta_speeds` as numbers.

        Raises:
          UserError: not a number, out of range, too many, or a duplicate.
        """
        words = self.tta_speeds.split(",") if self.tta_speeds else []
        try:
            speeds = tuple(float(word) for word in words)
        except ValueError:
            speeds = (math.nan,)
        fits = all(MIN_TTA_SPEED <= one <= MAX_TTA_SPEED and one == round(one, 2) for one in speeds)
        if not fits or len(set(speeds)) != len(speeds) or len(speeds) > MAX_NUM_TTA_SPEEDS:
            raise UserError(
                f"tta_speeds={self.tta_speeds}: must be {MAX_NUM_TTA_SPEEDS} different numbers at"
                f" most, of {MIN_TTA_SPEED} to {MAX_TTA_SPEED} and two decimals, like 0.9,1,1.1"
            )
        return speeds

    def _with_setting(self, key: str, text: str) -> StreamRecipe:
        if key != "encoder":
            return super()._with_setting(key, text)
        registry.entry("encoders", text)
        taken = builder_defaults("encoders", text)
        kept = {name: value for name, value in self.encoder_settings.items() if name in taken}
        return dataclasses.replace(self, encoder=text, encoder_settings=kept)

    def _settable(self) -> dict[str, dict[str, Any]]:
        groups = super()._settable()
        groups["encoder_settings"] = builder_defaults("encoders", self.encoder)
        if self.stream == "text":
            groups["features_settings"] = text_feature_defaults(self.features)
        return groups

    def validate(self) -> StreamRecipe:
        registry.entry("encoders", self.encoder)
        registry.entry("features", self.features)
        super().validate()
        _require_not_negative(self, "cached_augmentations")
        if not 1 <= self.ensemble_size <= MAX_ENSEMBLE_SIZE:
            raise UserError(f"ensemble_size={self.ensemble_size}: must be 1 to {MAX_ENSEMBLE_SIZE}")
        if self.tta_speed_values and self.stream != "audio":
            raise UserError(f"tta_speeds={self.tta_speeds}: of audio only, not {self.stream}")
        if self.cached_augmentations and self.stream != "audio":
            raise UserError(
                f"cached_augmentations={self.cached_augmentations}: of audio only, not"
                f" {self.stream}"
            )
        for transform in parse_transforms(self.transforms):
            if transform.stream not in _TRANSFORM_STREAMS[self.stream]:
                raise UserError(
                    f"transforms={self.transforms}: one is for {transform.stream}, the recipe for"
                    f" {self.stream}; see `list transforms`"
                )
        return self


@dataclass(frozen=True, kw_only=True)
class FusionRecipe(_Recipe):
    """How trained streams are fused.

    Attributes:
      fusion: name in the registry, or "auto"; `fusion_settings` are arguments of its builder.
      stream_recipes: recipe names of its streams, which are trained first if no run is named.
      modality_dropout: share of training rows in which one stream is hidden.
    """

    stream: str = "fusion"
    fusion: str
    fusion_settings: dict[str, Any] = field(default_factory=dict)
    stream_recipes: tuple[str, ...] = ()
    modality_dropout: float = 0.0

    @property
    def features(self) -> str:
        """Always empty: the streams have features, a fusion reads their outputs."""
        return ""

    @property
    def pretrained(self) -> str:
        """Always "none": a fusion is trained from scratch."""
        return "none"

    @property
    def is_ensemble(self) -> bool:
        """Always False: only streams can be ensembles."""
        return False

    @property
    def ensemble_label(self) -> str:
        """Always empty, see `is_ensemble`."""
        return ""

    @property
    def single_network(self) -> FusionRecipe:
        """Returns the recipe itself."""
        return self

    def _settable(self) -> dict[str, dict[str, Any]]:
        groups = super()._settable()
        if self.fusion != "auto":
            groups["fusion_settings"] = builder_defaults("fusions", self.fusion)
        return groups

    def validate(self) -> FusionRecipe:
        if self.fusion != "auto":
            registry.entry("fusions", self.fusion)
        super().validate()
        _require_not_negative(self, "modality_dropout")
        return self


Recipe = StreamRecipe | FusionRecipe


def recipe_from_json(value: dict[str, Any]) -> Recipe:
    """Restores a recipe from `as_json`."""
    value = {**value, "training": TrainingSettings(**value["training"])}
    if value["stream"] == "fusion":
        return FusionRecipe(**{**value, "stream_recipes": tuple(value["stream_recipes"])})
    return StreamRecipe(**value)


def ensemble_label(ensemble_size: int, num_speeds: int = 0) -> str:
    """Display suffix of an ensemble, e.g. ", 3 networks averaged"; "" for a single network."""
    networks = f", {ensemble_size} networks averaged" if ensemble_size > 1 else ""
    return networks + (f", at {num_speeds} speeds" if num_speeds else "")


def _require_choice(settings: Any, key: str, known: Sequence[str]) -> None:
    if getattr(settings, key) not in known:
        raise UserError(f"{key}={getattr(settings, key)}: must be one of {', '.join(known)}")


def _require_positive(settings: Any, *keys: str) -> None:
    for key in keys:
        if getattr(settings, key) <= 0:
            raise UserError(f"{key}={getattr(settings, key)}: must be above 0")


def _require_not_negative(settings: Any, *keys: str) -> None:
    for key in keys:
        if getattr(settings, key) < 0:
            raise UserError(f"{key}={getattr(settings, key)}: must be 0 or more")
