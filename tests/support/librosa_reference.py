"""What librosa makes of a waveform: the measure of the features in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import librosa
import numpy as np

from affectstream.preprocessing.media.media_file import MediaFile

RATE_HZ = 16_000
FFT, HOP = 1024, 256
STFT: dict[str, Any] = {"n_fft": FFT, "hop_length": HOP}


def frame_features(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """(dim, frames) float64 of (samples,), by the keys of FRAME_DESCRIPTORS."""
    given: dict[str, Any] = {"y": waveform.astype(np.float64), "sr": RATE_HZ, **STFT}
    framed: dict[str, Any] = {"frame_length": FFT, "hop_length": HOP}
    feature = librosa.feature
    mfcc = feature.mfcc(n_mfcc=40, **given)
    made = {
        "mfcc": mfcc,
        "chroma": feature.chroma_stft(tuning=0, **given),
        "mel_power": feature.melspectrogram(**given),
        "spectral_contrast": feature.spectral_contrast(**given),
        "centroid_hz": feature.spectral_centroid(**given),
        "bandwidth_hz": feature.spectral_bandwidth(**given),
        "roll_off_hz": feature.spectral_rolloff(**given),
        "flatness": feature.spectral_flatness(y=given["y"], **STFT),
        "zero_crossing_rate": feature.zero_crossing_rate(given["y"], **framed),
        "rms": feature.rms(y=given["y"], **framed),
    }
    if mfcc.shape[1] >= 9:
        made["mfcc_delta"] = feature.delta(mfcc, width=9, order=1, mode="interp")
        made["mfcc_delta2"] = feature.delta(mfcc, width=9, order=2, mode="interp")
    return made


def harmonic(waveform: np.ndarray) -> np.ndarray:
    """(samples,) float64."""
    return librosa.effects.harmonic(waveform.astype(np.float64), **STFT)


def autocorrelation(waveform: np.ndarray) -> np.ndarray:
    """(281,) of the centre-clipped waveform at the lags of 50 to 400 Hz."""
    waveform = waveform.astype(np.float64)
    level = 0.45 * np.abs(waveform).mean()
    above, below = waveform - level, waveform + level
    clipped = np.where(waveform > level, above, np.where(waveform < -level, below, 0.0))
    whole = np.zeros(321)
    found = librosa.autocorrelate(clipped, max_size=321)
    whole[: len(found)] = found
    return whole[40:] / whole[0] if clipped.any() else np.zeros(281)


def statistics(waveform: np.ndarray) -> dict[str, float]:
    """The 276 statistics by name."""
    frames = frame_features(waveform)
    loudness, correlation = frames["rms"][0], autocorrelation(waveform)
    samples = waveform.astype(np.float64)
    made = {
        "signal_abs_mean": np.abs(samples).mean(),
        "signal_std": samples.std(),
        "rms_mean": loudness.mean(),
        "rms_std": loudness.std(),
        "silence_ratio": (loudness <= 0.4 * loudness.mean()).mean(),
        "harmonic_abs_mean": np.abs(harmonic(samples)).mean(),
        "autocorrelation_max": correlation.max(),
        "autocorrelation_std": correlation.std(),
    }
    for how in ("mean", "std", "max"):
        for number, row in enumerate(frames["mfcc"], start=1):
            made[f"mfcc_{number:02d}_{how}"] = getattr(row, how)()
    pitches = ("c", "cis", "d", "dis", "e", "f", "fis", "g", "gis", "a", "ais", "b")
    for name, row in zip(pitches, frames["chroma"], strict=True):
        made[f"chroma_{name}_mean"] = row.mean()
    levels = librosa.power_to_db(frames["mel_power"].mean(axis=1), top_db=None)
    for number, level in enumerate(levels, start=1):
        made[f"mel_db_{number:03d}"] = level
    for number, row in enumerate(frames["spectral_contrast"], start=1):
        made[f"spectral_contrast_{number:02d}_mean"] = row.mean()
    made["zero_crossing_rate_mean"] = frames["zero_crossing_rate"].mean()
    return {name: float(value) for name, value in made.items()}


def signals(num_samples: int = 24_000) -> dict[str, np.ndarray]:
    """(samples,) float32 each, by what they are."""
    rng = np.random.default_rng(0)
    at_s = np.arange(num_samples) / RATE_HZ
    noise = rng.normal(0, 0.1, num_samples)
    sine = np.sin(2 * np.pi * 440 * at_s)
    made = {
        "noise": noise,
        "sine": 0.5 * sine,
        "clipped": np.clip(4 * sine + noise, -1, 1),
        "faint": 1e-4 * noise,
        "half silent": np.where(at_s < 0.5, noise, 0),
        "offset": 0.2 + noise / 2,
        "silence": np.zeros(num_samples),
        "one click": (np.arange(num_samples) == 1000).astype(float),
    }
    return {name: wave.astype(np.float32) for name, wave in made.items()}


def speech(real_data: Path, num_clips: int) -> Iterator[tuple[str, np.ndarray]]:
    """Recordings of RAVDESS at 16 kHz, each as it is and clipped."""
    clips = sorted((real_data / "ravdess").rglob("*.flac"))
    for path in clips[:: len(clips) // num_clips][:num_clips]:
        with MediaFile(path) as media:
            bounds = [(0.0, media.info.duration_s)]
            (tracks,) = media.segments(bounds, RATE_HZ, None, lambda frame: frame)
        assert tracks.waveform is not None
        yield path.name, tracks.waveform
        yield f"{path.name}, clipped", np.clip(30 * tracks.waveform, -1, 1)
