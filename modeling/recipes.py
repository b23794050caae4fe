"""Recipes: everything that changes the weights of a model, frozen, stored with the run."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import parse_transforms

_SETTINGS = ("encoder_settings", "features_settings", "fusion_settings")
OPTIMIZERS = ("adam", "adamw")
SCHEDULES = ("constant", "cosine")
KEEP_EPOCH_CHOICES = ("best", "last")
# Of one model: more would not fit into memory, and gain nothing.
MAX_ENSEMBLE_SIZE = 20
# At which a clip may be heard; each costs as much as a model that hears it once.
MIN_TTA_SPEED, MAX_TTA_SPEED, MAX_NUM_TTA_SPEEDS = 0.5, 2.0, 9


@dataclass(frozen=True)
class Recipe:
    """How one model is built and trained.

    Attributes:
      stream: "audio", "video", "text" or "fusion".
      labels: name of the label set.
      encoder: of a stream; `encoder_settings` are its own arguments.
      features: front end of a stream; `features_settings` are the fields of one of words.
      fusion: of a fusion; `fusion_settings` are its own arguments.
      transforms: augmentation of the training part, e.g. "noise:min_snr_db=10,speed,spec_augment".
      frames_as_examples: video trains on single faces, rather than on whole clips.
      early_stopping: epochs without a better validation UAR before training ends; 0 never.
      class_weights: weigh classes by the inverse of their frequency in the training part.
      copies: augmented copies of each clip whose features are made once and kept, one of them drawn
        an epoch; 0 augments anew each epoch. Of audio recipes only.
      weight_averaging: momentum of a moving average of the weights, which is what is validated and
        kept (Polyak & Juditsky 1992); 0 keeps the weights themselves.
      keep: the epoch whose weights are kept: "best" on validation, or the "last", for which the
        schedule decides and validation is not looked at.
      freeze_epochs: first epochs in which pretrained parts do not learn; after them the whole
        network is fine-tuned at `fine_tune_rate` times the learning rate.
      members: networks of a stream that are trained apart, each with a seed of its own, and whose
        logits are averaged (Lakshminarayanan et al. 2017).
      speeds: "0.9,1,1.1" of sound: the model hears each clip at all of these, and averages the
        logits; its networks are trained as ever. "" hears it as it is.
      parts: of a fusion, the recipes of its streams, trained first where no run is named.
      modality_dropout: share of training rows of a fusion in which one stream is hidden.
    """

    name: str
    stream: str
    source: str
    labels: str = "basic7"
    encoder: str = ""
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    features: str = ""
    features_settings: dict[str, Any] = field(default_factory=dict)
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
    copies: int = 0
    weight_averaging: float = 0.0
    keep: str = "best"
    freeze_epochs: int = 0
    fine_tune_rate: float = 0.1
    members: int = 1
    speeds: str = ""
    parts: tuple[str, ...] = ()

    @property
    def pretrained(self) -> str:
        """Weights that the encoder starts from, "none" where it has no such setting."""
        arguments = _arguments("encoders", self.encoder)
        return str(self.encoder_settings.get("weights", arguments.get("weights", "none")))

    @property
    def is_ensemble(self) -> bool:
        """Whether its model is put together of networks that are trained by `single_network`."""
        return self.members > 1 or bool(self.speeds)

    @property
    def single_network(self) -> Recipe:
        """One network by itself."""
        return dataclasses.replace(self, members=1, speeds="")

    @property
    def tta_speed_values(self) -> tuple[float, ...]:
        """`speeds` as numbers.

        Raises:
          UserError: what cannot be one.
        """
        try:
            found = tuple(float(word) for word in self.speeds.split(",")) if self.speeds else ()
        except ValueError:
            found = (math.nan,)
        fits = all(MIN_TTA_SPEED <= one <= MAX_TTA_SPEED and one == round(one, 2) for one in found)
        if not fits or len(set(found)) != len(found) or len(found) > MAX_NUM_TTA_SPEEDS:
            raise UserError(
                f"speeds={self.speeds}: must be {MAX_NUM_TTA_SPEEDS} different numbers at most, of"
                f" {MIN_TTA_SPEED} to {MAX_TTA_SPEED} and two decimals, like 0.9,1,1.1"
            )
        return found

    def as_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        # As earlier versions wrote it, whose digests stay valid.
        if self.members == 1:
            del value["members"]
        if not self.speeds:
            del value["speeds"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        return cls(**{**value, "parts": tuple(value.get("parts", ()))})

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
        return recipe.validate()

    def _with_setting(self, key: str, text: str) -> Recipe:
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fixed = {"name", "stream", "source", "parts", *_SETTINGS}
        if key == "encoder":
            return self._with_encoder(text)
        if key in own and key not in fixed:
            return dataclasses.replace(self, **{key: _converted(key, text, own[key])})
        kind = "fusion" if self.stream == "fusion" else "encoder"
        arguments = _arguments(kind + "s", getattr(self, kind))
        if key in arguments:
            value = _converted(key, text, arguments[key])
            changed: Any = {f"{kind}_settings": {**getattr(self, f"{kind}_settings"), key: value}}
            return dataclasses.replace(self, **changed)
        fields = _text_fields(self.features) if self.stream == "text" else {}
        if key in fields:
            value = _converted(key, text, fields[key])
            return dataclasses.replace(
                self, features_settings={**self.features_settings, key: value}
            )
        known = sorted(own.keys() - fixed) + sorted(arguments) + sorted(fields)
        raise UserError(f"--set {key}: no such setting; known: {', '.join(known)}")

    def _with_encoder(self, name: str) -> Recipe:
        """Another encoder, with those of the settings that it takes too."""
        registry.entry("encoders", name)
        taken = _arguments("encoders", name)
        kept = {key: value for key, value in self.encoder_settings.items() if key in taken}
        return dataclasses.replace(self, encoder=name, encoder_settings=kept)

    def validate(self) -> Recipe:
        """Itself, if every value is one that training can use.

        Raises:
          UserError: names the value that is not.
        """
        for kind, value in (("label-sets", self.labels), ("encoders", self.encoder)):
            if value:
                registry.entry(kind, value)
        if self.fusion not in ("", "auto"):
            registry.entry("fusions", self.fusion)
        if self.features:
            registry.entry("features", self.features)
        for key, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("keep", KEEP_EPOCH_CHOICES),
        ):
            if getattr(self, key) not in known:
                raise UserError(f"{key}={getattr(self, key)}: must be one of {', '.join(known)}")
        for key in ("epochs", "batch_size", "learning_rate", "fine_tune_rate"):
            if getattr(self, key) <= 0:
                raise UserError(f"{key}={getattr(self, key)}: must be above 0")
        if self.freeze_epochs and self.schedule != "constant":
            raise UserError(f"freeze_epochs={self.freeze_epochs}: goes with schedule=constant only")
        for key in (
            "freeze_epochs",
            "weight_decay",
            "label_smoothing",
            "modality_dropout",
            "early_stopping",
            "copies",
            "weight_averaging",
        ):
            if getattr(self, key) < 0:
                raise UserError(f"{key}={getattr(self, key)}: must be 0 or more")
        if not 1 <= self.members <= MAX_ENSEMBLE_SIZE:
            raise UserError(f"members={self.members}: must be 1 to {MAX_ENSEMBLE_SIZE}")
        if self.members > 1 and self.stream == "fusion":
            raise UserError(f"members={self.members}: of a stream only; set STREAM.members")
        if self.tta_speed_values and self.stream != "audio":
            raise UserError(f"speeds={self.speeds}: of sound only; set audio.speeds")
        if self.weight_averaging >= 1:
            raise UserError(f"weight_averaging={self.weight_averaging}: must be below 1")
        if self.copies and self.stream != "audio":
            raise UserError(f"copies={self.copies}: of recipes of sound only, not {self.stream}")
        if self.keep == "last" and self.early_stopping:
            raise UserError("keep=last: goes with early_stopping=0 only")
        fitting = {
            "audio": ("audio", "features", "batch"),
            "video": ("video", "batch"),
            "text": ("text",),
        }
        for transform in parse_transforms(self.transforms):
            if transform.stream not in fitting.get(self.stream, ()):
                raise UserError(
                    f"transforms={self.transforms}: one is for {transform.stream}, the recipe for"
                    f" {self.stream}; see `list transforms`"
                )
        return self


def ensemble_label(members: int, num_speeds: int = 0) -> str:
    """Display suffix of an ensemble, e.g. ", 3 networks averaged"; "" for a single network."""
    told = f", {members} networks averaged" if members > 1 else ""
    return told + (f", at {num_speeds} speeds" if num_speeds else "")


def _arguments(kind: str, name: str) -> dict[str, Any]:
    """Arguments with a default of an encoder's or fusion's builder."""
    if name in ("", "auto"):
        return {}
    parameters = inspect.signature(registry.load(kind, name)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _text_fields(features: str) -> dict[str, Any]:
    """Settings of a front end of words with their defaults; not what it learns."""
    front_end = registry.load("features", features)
    values = {f.name: getattr(front_end, f.name) for f in dataclasses.fields(front_end)}
    kinds = str | int | float
    return {k: value for k, value in values.items() if isinstance(value, kinds) and k != "stream"}


def _converted(key: str, text: str, like: Any) -> Any:
    """`text` as a value of the same type as the default `like`."""
    kind = type(like)
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in words:
            raise UserError(f"--set {key}={text}: must be true or false")
        return words[text.lower()]
    try:
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(text)
        return value
    except ValueError:
        wanted = {int: "whole number", float: "number"}.get(kind, kind.__name__)
        raise UserError(f"--set {key}={text}: must be a {wanted}, like {like}") from None


# === Table ===

RELU_CNN_AUDIO = Recipe(
    name="relu-cnn-audio",
    stream="audio",
    source="RAVDESS two-stream system: 3 s log-mel, ReLU CNN, Adam 1e-3, batch 32, 45 epochs",
    encoder="relu_cnn",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    epochs=45,
)

ELU_CNN_VIDEO = Recipe(
    name="elu-cnn-video",
    stream="video",
    source="RAVDESS two-stream system: single faces, ELU CNN, Adam 1e-3, batch 64, 10 epochs",
    encoder="elu_cnn",
    features="faces",
    transforms="flip",
    frames_as_examples=True,
    epochs=10,
    batch_size=64,
)

RESNET_FACE = Recipe(
    name="resnet-face",
    stream="video",
    source="a small residual CNN on single faces of 48 px, averaged over time",
    encoder="resnet_face",
    features="faces",
    transforms="flip,crop_jitter:min_zoom=0.85:max_zoom=1.15:max_shift_fraction=0.08,cutout,mixup",
    frames_as_examples=True,
    epochs=40,
    batch_size=64,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=5e-3,
    schedule="cosine",
    label_smoothing=0.1,
    class_weights=False,
    weight_averaging=0.998,
    keep="last",
)

ALEXNET_AUDIO = Recipe(
    name="alexnet-audio",
    stream="audio",
    source="BERT-ResNet34 system: AlexNet on spectrogram pictures",
    encoder="alexnet",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    epochs=30,
    learning_rate=3e-4,
    early_stopping=12,
)

RESNET34_AUDIO = Recipe(
    name="resnet34-audio",
    stream="audio",
    source="BERT-ResNet34 system: ResNet34 on spectrogram pictures",
    encoder="resnet34",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    epochs=30,
    learning_rate=3e-4,
    early_stopping=12,
)

STATISTICS_RESNET1D = Recipe(
    name="statistics-resnet1d",
    stream="audio",
    source="IEMOCAP fused-features system: 276 statistics a clip into a residual 1-D CNN",
    encoder="resnet1d",
    features="clip_statistics",
    epochs=100,
    learning_rate=3e-4,
    early_stopping=20,
)

CONV1D_AUDIO = Recipe(
    name="conv1d-audio",
    stream="audio",
    source="TESS and text system, feature level: MFCC and chroma into a 1-D CNN, augmented",
    encoder="conv1d",
    features="mfcc_chroma_sequence",
    transforms="noise,time_stretch,pitch_shift,speed",
    epochs=45,
)

LSTM_AUDIO = Recipe(
    name="lstm-audio",
    stream="audio",
    source="TESS and text system, probability level: MFCC and chroma into an LSTM, no augmentation",
    encoder="lstm",
    features="mfcc_chroma_sequence",
    epochs=45,
)

CONVLSTM_VIDEO = Recipe(
    name="convlstm-video",
    stream="video",
    source="ConvLSTM transfer system: ConvLSTM2D over the faces of a clip",
    encoder="convlstm",
    features="faces",
    transforms="flip",
    epochs=30,
    batch_size=16,
)

VGG19_AUDIO = Recipe(
    name="vgg19-audio",
    stream="audio",
    source="ConvLSTM transfer system: VGG19 (ImageNet) on spectrograms, frozen, then fine-tuned",
    encoder="vgg19",
    features="spectrogram_image",
    epochs=12,
    freeze_epochs=6,
)

YAMNET_AUDIO = Recipe(
    name="yamnet-audio",
    stream="audio",
    source="ConvLSTM transfer system: YAMNet (AudioSet) over time, frozen, then fine-tuned",
    encoder="yamnet",
    features="yamnet_patches",
    epochs=40,
    freeze_epochs=25,
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
CONVLSTM_YAMNET = dataclasses.replace(
    DENSE_FUSION,
    name="convlstm-yamnet",
    source="ConvLSTM transfer system: YAMNet and ConvLSTM joined by fully connected layers",
    parts=("yamnet-audio", "convlstm-video"),
)

ACTION_UNITS = Recipe(
    name="action-units",
    stream="video",
    source="facial action units or blendshapes a frame, pooled over time",
    encoder="action_units",
    features="action_units",
    epochs=60,
    optimizer="adamw",
    weight_decay=1e-2,
    schedule="cosine",
    label_smoothing=0.1,
    weight_averaging=0.99,
    keep="last",
)

RESNET_ASP_AUDIO = Recipe(
    name="resnet-asp-audio",
    stream="audio",
    source="a small residual CNN with attentive statistics (Okabe et al. 2018), heavily augmented",
    encoder="resnet_asp",
    features="speech_80",
    transforms=(
        "speed:probability=0.8,noise:probability=0.5,time_shift,spec_augment,mixup:alpha=0.3"
    ),
    epochs=120,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=5e-3,
    schedule="cosine",
    label_smoothing=0.1,
    copies=6,
    weight_averaging=0.99,
    keep="last",
)
RESNET_ASP_3X80_AUDIO = dataclasses.replace(
    RESNET_ASP_AUDIO,
    name="resnet-asp-3x80-audio",
    source="`resnet-asp-audio` over three resolutions, its bands joined rather than averaged,"
    " batches of half the size (`docs/results.md`, ablation)",
    encoder_settings={"channels": "32,48,64,96", "bands": "joined"},
    features="speech_3x80",
    batch_size=16,
    epochs=100,
)

TEXT_CNN = Recipe(
    name="text-cnn",
    stream="text",
    source="Kim 2014: word vectors learnt from scratch, convolutions of four widths",
    encoder="text_cnn",
    features="words",
    transforms="word_dropout",
    epochs=25,
    batch_size=64,
    early_stopping=6,
)
TEXT_TRANSFORMER = Recipe(
    name="text-transformer",
    stream="text",
    source="Vaswani et al. 2017: a small encoder from scratch",
    encoder="text_transformer",
    features="words",
    transforms="word_dropout",
    epochs=25,
    batch_size=64,
    learning_rate=5e-4,
    early_stopping=6,
)
TFIDF_TEXT = Recipe(
    name="tfidf-text",
    stream="text",
    source="IEMOCAP fused-features system: TF-IDF, min_df 5, sublinear, into a linear layer",
    encoder="linear",
    encoder_settings={"l2": 1e-5},
    features="tfidf",
    epochs=40,
    batch_size=64,
    learning_rate=3e-3,
    early_stopping=8,
)
BERT_TEXT = Recipe(
    name="bert-text",
    stream="text",
    source="BERT-ResNet34 system: BERT classifier (Devlin et al. 2019), fine-tuned",
    encoder="bert",
    features="wordpieces",
    epochs=4,
    batch_size=16,
    learning_rate=2e-5,
)
TINYBERT_TEXT = Recipe(
    name="tinybert-text",
    stream="text",
    source="TESS and text system, feature level: TinyBERT, from scratch unless weights are named",
    encoder="tinybert",
    features="wordpieces",
    transforms="word_dropout",
    epochs=12,
    learning_rate=2e-4,
    early_stopping=4,
)
DISTILBERT_TEXT = Recipe(
    name="distilbert-text",
    stream="text",
    source="TESS and text system, probability level: DistilBERT (Sanh et al. 2019), fine-tuned",
    encoder="distilbert",
    features="wordpieces",
    epochs=4,
    batch_size=16,
    learning_rate=2e-5,
)
STATISTICS_LINEAR = Recipe(
    name="statistics-linear",
    stream="audio",
    source="IEMOCAP fused-features system: 276 statistics into a linear layer",
    encoder="linear",
    features="clip_statistics",
    epochs=60,
    early_stopping=10,
)
BERT_RESNET34 = dataclasses.replace(
    DENSE_FUSION,
    name="bert-resnet34",
    source="BERT-ResNet34 system: BERT and ResNet34 joined by dense layers",
    parts=("bert-text", "resnet34-audio"),
)
BERT_ALEXNET = dataclasses.replace(
    DENSE_FUSION,
    name="bert-alexnet",
    source="BERT-ResNet34 system: BERT and AlexNet joined by dense layers",
    parts=("bert-text", "alexnet-audio"),
)
TFIDF_STATISTICS_RESNET1D = Recipe(
    name="tfidf-statistics-resnet1d",
    stream="fusion",
    source="IEMOCAP fused-features system: 276 statistics and TF-IDF into a residual 1-D CNN",
    fusion="concat_resnet1d",
    epochs=100,
    learning_rate=3e-4,
    early_stopping=20,
    parts=("statistics-linear", "tfidf-text"),
)
TINYBERT_CONV1D = dataclasses.replace(
    DENSE_FUSION,
    name="tinybert-conv1d",
    source="TESS and text system, feature level: TinyBERT and 1-D CNN joined by dense layers",
    parts=("tinybert-text", "conv1d-audio"),
)
DISTILBERT_LSTM_MAX = Recipe(
    name="distilbert-lstm-max",
    stream="fusion",
    source="TESS and text system, probability level: the surer one of DistilBERT and LSTM",
    labels="tess_emotion5",
    fusion="highest",
    parts=("distilbert-text", "lstm-audio"),
)
THREE_STREAM = Recipe(
    name="three-stream",
    stream="fusion",
    source="the networks of the RAVDESS two-stream system and a text CNN, calibrated late fusion",
    fusion="calibrated_late",
    parts=("relu-cnn-audio", "elu-cnn-video", "text-cnn"),
)
TWO_STREAM_SUM = Recipe(
    name="two-stream-sum",
    stream="fusion",
    source="RAVDESS two-stream system: sum of the two softmaxes",
    fusion="sum",
    parts=("relu-cnn-audio", "elu-cnn-video"),
)

LATE_FUSION = Recipe(
    name="late-fusion",
    stream="fusion",
    source="temperature a stream (Guo et al. 2017) and weighted log-probabilities, on validation",
    fusion="calibrated_late",
)


AUTO = Recipe(
    name="auto",
    stream="fusion",
    source="every fusion trained, the best on validation kept, never below its best stream",
    fusion="auto",
    epochs=60,
    early_stopping=15,
    modality_dropout=0.3,
)

# What `train --stream X` takes when no recipe is named.
DEFAULT_RECIPES = {
    "audio": "relu-cnn-audio",
    "video": "elu-cnn-video",
    "text": "text-cnn",
    "fusion": "late-fusion",
}
