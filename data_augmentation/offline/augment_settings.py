"""Settings of `augment` that determine its copies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from affectstream.core import registry
from affectstream.data_augmentation.offline.augmenter import Augmenter
from affectstream.data_augmentation.offline.back_translation import PIVOTS, BackTranslator
from affectstream.data_augmentation.text.word_tokens import normalize_text
from affectstream.preprocessing.dataset.data_folder import DataFolder

DEFAULT_TRANSFORMS = (
    "noise,speed,time_stretch,pitch_shift,time_shift,gain,bandwidth,"
    "flip,crop_jitter,brightness,cutout,downscale,jpeg"
)


@dataclass(frozen=True)
class AugmentSettings:
    """Everything that changes the copies; stored in `preprocess.json`.

    Attributes:
      transforms: recipe text, as `affectstream.data_augmentation.chain.parse_transforms` reads it.
      copies: transformed copies of each training clip, and of each training text.
      seed: of the chance in them.
      back_translate: translator of the registry for paraphrases of the texts, or "".
      pivots: languages that it goes through, commas between.
      language: of the texts.
    """

    transforms: str = DEFAULT_TRANSFORMS
    copies: int = 4
    seed: int = 0
    back_translate: str = ""
    pivots: str = ",".join(PIVOTS)
    language: str = "en"

    def as_json(self) -> dict[str, Any]:
        """For `preprocess.json`; what concerns translation only where there is any."""
        stored = asdict(self)
        if not self.back_translate:
            for name in ("back_translate", "pivots", "language"):
                del stored[name]
        return stored

    def augmenter(self, source: DataFolder) -> Augmenter:
        """What makes these copies of the training clips of `source`.

        Raises:
          UserError: an unknown transform, translator or language, or nothing that changes a clip.
        """
        return Augmenter.parse(
            self.transforms, self.seed, self._back_translator(), _held_out(source)
        )

    def _back_translator(self) -> BackTranslator | None:
        if not self.back_translate:
            return None
        translator = registry.load("translators", self.back_translate)()
        pivots = tuple(code for word in self.pivots.split(",") if (code := word.strip()))
        return BackTranslator(translator, pivots, self.language)


def _held_out(source: DataFolder) -> frozenset[str]:
    """Normalised texts outside the training split, as `words.normalize_text` gives them."""
    train = set(source.splits.parts["train"])
    rows = (row for row in source.rows if row.text_hash and row.id not in train)
    return frozenset(normalize_text(row.transcript) for row in rows)
