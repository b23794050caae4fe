"""Mixup: blends two clips and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from affectstream.data_augmentation.transform import Parameters, Transform, check_between

_PAIRS = (("audio", "audio_length"), ("video", "video_mask"))

Batch = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Mixup(Transform):
    """Blends each row of a batch with another row: weight * own + (1 - weight) * partner.

    A row is blended only with a partner that has the same streams; otherwise the row and its label
    are unchanged, so that a label never names an emotion without input.

    - audio: both start at sample 0; the length is the longer one of the two.
    - video: a frame set in both masks is blended and rounded; a frame set in only one of them is
      taken from there unblended; the mask is set where either is.

    Here `probability` is that of each row to be blended.

    Parameters of `apply`: `permutation`, for each row its partner; `weights`, for each row the
    share of its own in [0, 1].

    Attributes:
      alpha: both parameters of the Beta distribution of the weight, in [0.01, 100]; small values
        leave most rows nearly pure.
    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization", one weight per row.
    """

    name: ClassVar[str] = "mixup"
    stream: ClassVar[str] = "batch"

    probability: float = 1.0
    alpha: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("alpha", self.alpha, 0.01, 100.0)

    def sample(self, rng: np.random.Generator, batch_size: int) -> Parameters:
        """Draws `permutation`, a list of row numbers, and `weights`, a list of floats."""
        permutation = rng.permutation(batch_size)
        weights = rng.beta(self.alpha, self.alpha, batch_size)
        blended = rng.random(batch_size) < self.probability
        return {
            "permutation": permutation.tolist(),
            "weights": np.where(blended, weights, 1.0).tolist(),
        }

    def apply(
        self,
        batch: Mapping[str, np.ndarray],
        labels: np.ndarray,
        *,
        permutation: Sequence[int],
        weights: Sequence[float],
    ) -> tuple[Batch, np.ndarray]:
        """Blends a batch by fixed parameters.

        Args:
          batch: "audio" (B, samples) float32, zero from "audio_length" (B,) int32 on; and, or
            instead, "video" (B, T, H, W, C) uint8 with "video_mask" (B, T) bool.
          labels: (B, classes) float32, one-hot or already soft.
          permutation: B row numbers.
          weights: B floats in [0, 1].
        Returns:
          the blended batch and labels, of the same keys, shapes and dtypes.
        Raises:
          ValueError: if the batch holds other keys (words cannot be blended) or half a pair, or
            if labels, permutation or weights do not fit it.
        """
        _check(batch, labels, permutation, weights)
        partner = np.asarray(permutation, dtype=np.intp)
        share = np.asarray(weights, dtype=np.float32)
        for _, presence in _PAIRS:
            if presence in batch:
                marks = batch[presence]
                present = np.count_nonzero(marks, axis=tuple(range(1, marks.ndim))) > 0
                share = np.where(present == present[partner], share, np.float32(1.0))
        blended: Batch = {}
        if "audio" in batch:
            blended["audio"] = _blend(batch["audio"], partner, share)
            length = batch["audio_length"]
            longer = np.maximum(length, length[partner])
            blended["audio_length"] = np.where(share < 1.0, longer, length)
        if "video" in batch:
            blended["video"], blended["video_mask"] = _blend_video(
                batch["video"], batch["video_mask"], partner, share
            )
        return blended, _blend(labels, partner, share)


def _check(
    batch: Mapping[str, np.ndarray],
    labels: np.ndarray,
    permutation: Sequence[int],
    weights: Sequence[float],
) -> None:
    """Refuses what `Mixup.apply` cannot blend."""
    known = [key for pair in _PAIRS for key in pair]
    unknown = sorted(set(batch) - set(known))
    if unknown:
        raise ValueError(f"mixup blends only {', '.join(known)}; received {', '.join(unknown)}")
    for signal, presence in _PAIRS:
        if (signal in batch) != (presence in batch):
            raise ValueError(f"mixup needs both {signal} and {presence}, received {list(batch)}")
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.floating):
        raise ValueError(
            f"labels must be (B, classes) float32, received {labels.shape} {labels.dtype}"
        )
    size = len(labels)
    for key, array in batch.items():
        if len(array) != size:
            raise ValueError(f"{key} has {len(array)} rows, the labels have {size}")
    if len(permutation) != size or not all(0 <= row < size for row in permutation):
        raise ValueError(
            f"permutation needs {size} row numbers below {size}, received {permutation}"
        )
    if len(weights) != size or not all(0.0 <= weight <= 1.0 for weight in weights):
        raise ValueError(f"weights needs {size} numbers in [0, 1], received {weights}")


def _blend(rows: np.ndarray, partner: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Blends rows (B, N) float32; rows of share 1 come through bit for bit."""
    blended = rows.copy()
    for row in np.flatnonzero(share < 1.0):
        own, others = share[row], np.float32(1.0) - share[row]
        blended[row] = own * rows[row] + others * rows[partner[row]]
    return blended


def blend_rows(
    rows: np.ndarray, *, permutation: Sequence[int], weights: Sequence[float]
) -> np.ndarray:
    """Blends features or labels (B, ...) float32 by the parameters that `Mixup.sample` drew."""
    share = np.asarray(weights, np.float32).reshape(-1, *(1,) * (rows.ndim - 1))
    return share * rows + (1 - share) * rows[np.asarray(permutation, np.intp)]


def _blend_video(
    video: np.ndarray, mask: np.ndarray, partner: np.ndarray, share: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blends clips (B, T, H, W, C) uint8 with masks (B, T) bool, frame by frame."""
    blended, either = video.copy(), mask.copy()
    for row in np.flatnonzero(share < 1.0):
        other, own = partner[row], float(share[row])
        both = mask[row] & mask[other]
        only_other = mask[other] & ~mask[row]
        blended[row, only_other] = video[other, only_other]
        if both.any() and blended[row].size:
            first, second = video[row, both], video[other, both]
            flat = (len(first), -1)
            mixed = cv2.addWeighted(first.reshape(flat), own, second.reshape(flat), 1 - own, 0.0)
            blended[row, both] = mixed.reshape(first.shape)
        either[row] |= mask[other]
    return blended, either
