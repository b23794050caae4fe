"""Downmix of audio channels to mono."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_HALF = 0.5
# ITU-R BS.775-4 mixes these into left and right at -3 dB; mono is the mean of left and right.
_CENTRE, _SURROUND = 0.7071, 0.3536
_FRONT = frozenset(["FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR"])
_BEHIND = frozenset(["BL", "BR", "BC", "SL", "SR", "SDL", "SDR"])
_ABOVE = frozenset(["TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR", "TSL", "TSR"])
_LOW = frozenset(["LFE", "LFE2"])


def downmix_weights(layout: Any) -> np.ndarray:
    """(channels,) float32: weight of each channel in the mono mix.

    The mix is the mean of a player's stereo: left and right count half each, the centre (dialogue)
    -3 dB, surround channels -9 dB, and low-frequency effects 0. In an unknown layout all channels
    have the same weight.
    """
    names = tuple(channel.name for channel in layout.channels) if layout.nb_channels > 1 else ()
    return _weights(layout.nb_channels, names)


@functools.lru_cache(maxsize=16)
def _weights(count: int, names: tuple[str, ...]) -> np.ndarray:
    known = dict.fromkeys(_FRONT, _HALF)
    known |= {"FC": _CENTRE} | dict.fromkeys(_BEHIND | _ABOVE, _SURROUND) | dict.fromkeys(_LOW, 0.0)
    is_known = len(names) == count > 1 and {"FL", "FR"} <= set(names) <= set(known)
    if not is_known:
        return np.full(count, 1.0 / count, np.float32)
    return np.array([known[name] for name in names], np.float32)


def downmix(by_channel: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(channels, samples) -> (samples,) float32; sums in channel order, so results are equal."""
    if len(weights) == 1:
        return by_channel[0]
    if weights[0] * len(weights) == 1 and (weights == weights[0]).all():
        return by_channel.mean(axis=0, dtype=np.float32)
    return (by_channel * weights[:, None]).sum(axis=0, dtype=np.float32)


def deinterleave(frame: Any) -> np.ndarray:
    """(channels, samples) of a frame in packed format."""
    channels: np.ndarray = frame.to_ndarray().reshape(-1, frame.layout.nb_channels).T
    return channels
