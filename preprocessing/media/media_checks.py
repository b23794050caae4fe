"""Rejects implausible headers, which would cost hours of time or gigabytes of memory."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np

from affectstream.core import storage_paths
from affectstream.core.errors import MediaError

# A rate outside this range is an error, and resampling from it could exhaust memory.
SAMPLE_RATE_RANGE_HZ = (1_000, 1_000_000)
# Average over a file. Most packets last milliseconds; those of Monkey's Audio have up to 1,179,648
# samples, 147 s at 8 kHz, and a screen recording may be still for a minute.
LONGEST_PACKET_S = 150.0
# Full scale is 1. Valid recordings are not far above it, and squares of larger samples overflow
# float32.
MAX_ABS_SAMPLE = 1e3


def require_regular_file(name: str, path: Path) -> None:
    """Rejects a pipe or device, which cannot be read twice and may be endless.

    Raises:
      MediaError: it is neither a file nor a folder.
      OSError: it does not exist.
    """
    if storage_paths.is_remote(path):
        return
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise MediaError(f"{name}: a pipe or a device, no file; save what comes out of it first")


def require_plausible_rate(name: str, rate_hz: int) -> None:
    """Checks the sample rate; 0 means that the header has none.

    Raises:
      MediaError: it is outside `SAMPLE_RATE_RANGE_HZ`.
    """
    if rate_hz and not SAMPLE_RATE_RANGE_HZ[0] <= rate_hz <= SAMPLE_RATE_RANGE_HZ[1]:
        raise MediaError(
            f"{name}: states {rate_hz} samples of sound a second, which is implausible;"
            " convert or record it again"
        )


def require_plausible_duration(name: str, duration_s: float, num_packets: int) -> None:
    """Checks that the duration is possible with this number of packets.

    Raises:
      MediaError: wrong time stamps, which would turn a small file into hours of silence.
    """
    if duration_s > num_packets * LONGEST_PACKET_S:
        raise MediaError(
            f"{name}: its time stamps reach to {duration_s:.0f} s, and it holds {num_packets}"
            " packets; convert or record it again"
        )


def require_finite_samples(name: str, waveform: np.ndarray) -> None:
    """Checks that no sample is NaN, infinite or far above full scale.

    Raises:
      MediaError: a sample is invalid.
    """
    if not np.abs(waveform).max(initial=0) <= MAX_ABS_SAMPLE:  # every comparison with NaN is false
        raise MediaError(
            f"{name}: its audio contains NaN, infinity or values far above full scale; convert"
            " or record it again"
        )
