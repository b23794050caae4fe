"""ComParE functionals of waveforms, in a process of its own: opensmile and TensorFlow in one crash.

Usage: python -m benchmarks.accuracy.compare_functionals WAVEFORMS.npz OUT.npz

WAVEFORMS.npz holds `rate_hz` and, by number, the waveforms (samples,) int16; OUT.npz gets `values`
(clips, 6373) float32.
"""

from __future__ import annotations

import sys

import numpy as np
import opensmile

INT16_SCALE = 32768.0


def main(source: str, target: str) -> None:
    smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016)
    with np.load(source) as given:
        rate_hz = int(given["rate_hz"])
        waveforms = [given[str(number)] for number in range(len(given.files) - 1)]
    found = [
        smile.process_signal(waveform / np.float32(INT16_SCALE), rate_hz).to_numpy(np.float32)[0]
        for waveform in waveforms
    ]
    np.savez(target, values=np.stack(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
