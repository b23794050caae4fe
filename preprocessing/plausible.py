"""What a file says of itself and cannot be: a few lying bytes would cost hours or gigabytes."""

from __future__ import annotations

import numpy as np

from errors import MediaError

# What is outside is no sound of anything, and would be resampled to a multiple of memory.
SOUND_RATES_HZ = (1_000, 1_000_000)
# Packets of sound last milliseconds; pictures of a screen may stand still for a while.
LONGEST_SOUND_PACKET_S, LONGEST_STILL_S = 10.0, 60.0
# Full scale is 1; far above it no recording is, and squares of it would leave float32.
LOUDEST = 1e3


def require_rate(name: str, rate_hz: int) -> None:
    """Stops at a rate of sound that is none; 0 stands for one that is not stated.

    Raises:
      MediaError: it is outside `SOUND_RATES_HZ`.
    """
    if rate_hz and not SOUND_RATES_HZ[0] <= rate_hz <= SOUND_RATES_HZ[1]:
        raise MediaError(
            f"{name}: states {rate_hz} samples of sound a second, which is none; convert or record"
            " it again"
        )


def require_filled(name: str, duration_s: float, num_sounds: int, num_pictures: int) -> None:
    """Stops at a length that so many packets cannot fill.

    Raises:
      MediaError: time stamps are wrong, and a small file would become hours of nothing.
    """
    if duration_s > num_sounds * LONGEST_SOUND_PACKET_S + num_pictures * LONGEST_STILL_S:
        raise MediaError(
            f"{name}: its time stamps reach to {duration_s:.0f} s, and it holds"
            f" {num_sounds + num_pictures} packets; convert or record it again"
        )


def require_numbers(name: str, waveform: np.ndarray) -> None:
    """Stops at samples that are NaN, infinite, or louder than anything.

    Raises:
      MediaError: there are such.
    """
    if not np.abs(waveform).max(initial=0) <= LOUDEST:  # of a NaN every comparison is false
        raise MediaError(
            f"{name}: its sound holds values that are no numbers, or far beyond full scale; convert"
            " or record it again"
        )
