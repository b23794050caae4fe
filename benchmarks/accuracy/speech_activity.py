"""How much speech is found in speech of any level, in meetings, and where nobody speaks."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from affectstream.preprocessing.media.audio.speech_activity import (
    CHUNK_S,
    MIN_SPEECH_SHARE,
    SPEECH_THRESHOLD,
    speech_probabilities,
)
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.pcm import SILENCE_PEAK
from benchmarks import inputs, report

RATE_HZ = 16_000
THRESHOLDS = (0.15, SPEECH_THRESHOLD, 0.5)
CORPORA = ("ravdess", "tess", "savee", "emovo", "nemo", "emotale")
NUM_CLIPS, NUM_QUICK_CLIPS = 40, 2
NUM_FIRST = 200  # of the corpus that is made quieter as well
QUIETER_DB = (20, 40)
MADE_S = 8.0
SUFFIXES = (".flac", ".opus", ".wav", ".mp4")


@dataclass(frozen=True)
class SpeechProbabilities:
    """Chunk probabilities of one recording.

    Attributes:
      probabilities: (chunks,) of speech.
    """

    name: str
    probabilities: np.ndarray

    def share(self, threshold: float) -> float:
        return float(np.mean(self.probabilities >= threshold))


# === Sounds ===


def sound(path: Path) -> np.ndarray:
    """(samples,) float32 mono at 16 kHz."""
    with MediaFile(path) as media:
        bounds = [(0.0, media.info.duration_s)]
        (tracks,) = media.segments(bounds, RATE_HZ, None, lambda frame: frame)
    return np.zeros(0, np.float32) if tracks.waveform is None else tracks.waveform


def drawn(folder: Path, count: int) -> list[Path]:
    """A fixed random sample of the recordings below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return random.Random(0).sample(found, min(count, len(found)))


def no_speech() -> Iterator[tuple[str, np.ndarray]]:
    """Generated audio without speech, (samples,) float32."""
    rng = np.random.default_rng(0)
    at_s = np.arange(round(MADE_S * RATE_HZ)) / RATE_HZ
    sine: Callable[[float], np.ndarray] = lambda hz: np.sin(2 * np.pi * hz * at_s)  # noqa: E731
    sounds = {
        "constant offset": np.full_like(at_s, 0.3),
        "white noise": _noise(rng, at_s, 0.0),
        "pink noise": _noise(rng, at_s, 1.0),
        "noise that swells 4 times a second": _noise(rng, at_s, 1.0) * (1 + sine(4.0)),
        "hum of 50 Hz and its multiples": sum(sine(50.0 * k) / k for k in (1, 2, 3, 5)),
        "buzz of 140 Hz": 2 * (140 * at_s % 1) - 1,
        "tone of 440 Hz": sine(440.0),
        "tone with vibrato": np.sin(2 * np.pi * 440 * at_s + 8 * sine(5.0)),
        "rising tone": np.sin(2 * np.pi * (100 * at_s + 200 * at_s**2)),
        "chords": _chords(rng, at_s),
        "drums": _drums(rng, at_s),
        "birds": _birds(rng, at_s),
    }
    for name, waveform in sounds.items():
        peak = max(float(np.abs(waveform).max()), SILENCE_PEAK)
        yield name, (0.3 / peak * waveform).astype(np.float32)


def _noise(rng: np.random.Generator, at_s: np.ndarray, slope: float) -> np.ndarray:
    """Power falls as 1 / frequency ** slope."""
    spectrum = np.fft.rfft(rng.standard_normal(len(at_s)))
    falls_by = np.maximum(np.arange(len(spectrum)), 1) ** (-slope / 2)
    return np.fft.irfft(spectrum * falls_by, len(at_s))


def _chords(rng: np.random.Generator, at_s: np.ndarray) -> np.ndarray:
    """Two a second, three notes each, six partials, dying away."""
    within_s = at_s % 0.5
    out = np.zeros_like(at_s)
    for number in range(int(MADE_S / 0.5)):
        shown = (at_s // 0.5 == number) * np.exp(-2 * within_s)
        for hz in rng.choice([220.0, 262.0, 294.0, 330.0, 392.0, 440.0], 3, replace=False):
            out += shown * sum(np.sin(2 * np.pi * hz * k * within_s) / k for k in range(1, 7))
    return out


def _drums(rng: np.random.Generator, at_s: np.ndarray) -> np.ndarray:
    """Four beats a second, low and rustling in turn."""
    within_s = at_s % 0.25
    low = np.sin(2 * np.pi * (60 + 80 * np.exp(-30 * within_s)) * within_s)
    beats = low * np.exp(-15 * within_s)
    rustle = 0.5 * rng.standard_normal(len(at_s)) * np.exp(-30 * within_s)
    return np.where(at_s // 0.25 % 2 == 0, beats, rustle)


def _birds(rng: np.random.Generator, at_s: np.ndarray) -> np.ndarray:
    """Chirps of 0.12 s that glide between 2.5 and 6 kHz."""
    out = np.zeros_like(at_s)
    length_s, length = 0.12, round(0.12 * RATE_HZ)
    glide_s = np.arange(length) / RATE_HZ
    for _ in range(int(3 * MADE_S)):
        from_hz, to_hz = rng.uniform(2500, 5000), rng.uniform(2500, 6000)
        phase = from_hz * glide_s + (to_hz - from_hz) * glide_s**2 / (2 * length_s)
        first = int(rng.integers(0, len(at_s) - length))
        out[first : first + length] += np.sin(2 * np.pi * phase) * np.hanning(length)
    return out


# === Meetings ===


def spoken_times(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Recording -> start and end of each turn in seconds, of the `.rttm` files of a folder."""
    times: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(folder.glob("*.rttm")):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, name, _, start_s, length_s, *_ = line.split()
            end_s = float(start_s) + float(length_s)
            times.setdefault(name, []).append((float(start_s), end_s))
    return times


def is_spoken(turns: Sequence[tuple[float, float]], num_chunks: int) -> np.ndarray:
    """(chunks,) bool: whether anybody speaks in the middle of a chunk."""
    middle_s = (np.arange(num_chunks) + 0.5) * CHUNK_S
    return np.any([(start <= middle_s) & (middle_s < end) for start, end in turns], axis=0)


def auc(truth: np.ndarray, values: np.ndarray) -> float:
    """Area under the ROC curve. Source: Mann & Whitney 1947."""
    positive, negative = int(truth.sum()), int((~truth).sum())
    ranks = rankdata(values)[truth].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


# === Tables ===


def heard_of(sounds: Sequence[tuple[str, np.ndarray]]) -> list[SpeechProbabilities]:
    return [SpeechProbabilities(name, speech_probabilities(wave, RATE_HZ)) for name, wave in sounds]


def speech_row(name: str, heard: Sequence[SpeechProbabilities]) -> tuple[object, ...]:
    cells: list[object] = []
    for threshold in THRESHOLDS:
        shares = np.array([one.share(threshold) for one in heard])
        cells.append(f"{np.median(shares):.2f}, {int((shares < MIN_SPEECH_SHARE).sum())}")
    return (name, len(heard), *cells)


def meeting_rows(folder: Path) -> Iterator[tuple[object, ...]]:
    for name, turns in spoken_times(folder).items():
        path = folder / f"ami_{name}.opus"
        if path.is_file():
            (heard,) = heard_of([(name, sound(path))])
            truth = is_spoken(turns, len(heard.probabilities))
            shares = [f"{heard.share(threshold):.2f}" for threshold in THRESHOLDS]
            yield (name, f"{truth.mean():.2f}", *shares, f"{auc(truth, heard.probabilities):.3f}")


def _meetings(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> Iterator[str]:
    if rows:
        yield "Meetings of AMI whose times of speech are known (30 s each):"
        yield report.table(("meeting", "truth", *columns, "AUC"), rows)


def _speech(data: Path | None, work: Path, is_quick: bool) -> Iterator[tuple[object, ...]]:
    """A row for each corpus, and for the first one made quieter."""
    if data is None:
        inputs.synthetic_corpus(work, is_quick)
        folders = {"the SYNTHETIC voices": (work / "sample", NUM_QUICK_CLIPS)}
    else:
        folders = {name: (data / name, NUM_CLIPS) for name in CORPORA if (data / name).is_dir()}
    for number, (name, (folder, count)) in enumerate(folders.items()):
        paths = drawn(folder, NUM_FIRST if data is not None and not number else count)
        sounds = [(path.name, sound(path)) for path in paths]
        yield speech_row(name, heard_of(sounds))
        if number == 0:
            for quieter_db in QUIETER_DB:
                gain = np.float32(10 ** (-quieter_db / 20))
                quiet = [(n, gain * wave) for n, wave in sounds[:NUM_CLIPS]]
                yield speech_row(f"{name}, {quieter_db} dB quieter", heard_of(quiet))


def cost_s(seconds: float = 60.0) -> float:
    """CPU seconds for 4 s of audio, without opening the detector."""
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, round(seconds * RATE_HZ))
    speech_probabilities(wave[:RATE_HZ].astype(np.float32), RATE_HZ)
    began_s = time.process_time()
    speech_probabilities(wave.astype(np.float32), RATE_HZ)
    return (time.process_time() - began_s) / seconds * 4


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    chosen = report.parser(__doc__).parse_args(words)
    machine = report.machine()
    data = None if chosen.quick else inputs.data_folder()
    with report.work_folder(chosen.work) as work:
        speech = list(_speech(data, work, chosen.quick))
    meetings = list(meeting_rows(data / "ordinary")) if data is not None else []
    none = [
        (one.name, *(f"{one.share(t):.3f}" for t in THRESHOLDS), f"{one.probabilities.max():.2f}")
        for one in heard_of(list(no_speech()))
    ]
    columns = [f"from {threshold:g}" for threshold in THRESHOLDS]
    cost = cost_s(4.0 if chosen.quick else 60.0)
    parts = [
        "Share of the chunks of 32 ms whose probability of speech is at least the figure above the"
        f" column; `predict` takes {SPEECH_THRESHOLD:g}. It costs {cost:.3f} CPU seconds for 4"
        " s.",
        "Speech: the median share of the clips, and in how many less than"
        f" {MIN_SPEECH_SHARE:.0%} is"
        " found, which `predict` would warn of. Clips drawn with seed 0.",
        report.table(("recordings", "clips", *columns), speech),
        *_meetings(meetings, columns),
        f"Made sounds of {MADE_S:g} s in which nobody speaks:",
        report.table(("sound", *columns, "highest"), none),
    ]
    report.publish("Speech activity", "speech_activity", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
