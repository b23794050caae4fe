"""What each part of the face recipe is worth: one change at a time, on FER2013's Training part.

Half of it trains, half is scored; PublicTest and PrivateTest are never opened. Trains what is not
trained yet: ten minutes a row with the default epochs and one core each. Stopped, it goes on.
Writes a section of docs/results.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from affectstream.core import registry
from benchmarks.accuracy import half_ablation
from benchmarks.accuracy.half_ablation import BASE, Study, Variant

STUDY = Study(
    recipe="resnet-face",
    labels="basic7",
    settings=(),
    data=Path("data/fer2013"),
    epochs=10,
    splits=("train", "validation"),
    title="Ablation of the face recipe",
    name="face_ablation",
    examples="pictures of FER2013's Training",
    closed="PublicTest or PrivateTest",
)


def variants() -> dict[str, Variant]:
    """Name in the table and of the folder -> what is changed."""
    own = registry.load("recipes", STUDY.recipe).transforms.split(",")

    def without(name: str) -> Variant:
        kept = [one for one in own if one.partition(":")[0] != name]
        return Variant((f"transforms={','.join(kept)}",))

    return {
        BASE: Variant(),
        "without mixup": without("mixup"),
        "without cutout": without("cutout"),
        "without jitter of the crop": without("crop_jitter"),
        "without mirror images": Variant((*without("flip").settings, "flip_tta=false")),
        "half the dropout": Variant(("dropout=0.2",)),
        "without label smoothing": Variant(("label_smoothing=0",)),
        "without averaged weights": Variant(("ema_momentum=0",)),
        "1.5 times as wide": Variant(("width=48",)),
        "half as wide": Variant(("width=16",)),
        "batches of 32": Variant(("batch_size=32",)),
        "classes weighed": Variant(("class_weights=true",)),
        "half the epochs": Variant(share_of_epochs=0.5),
        "twice the epochs": Variant(share_of_epochs=2.0),
    }


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    return half_ablation.measure(STUDY, variants(), words, __doc__)


if __name__ == "__main__":
    raise SystemExit(main())
