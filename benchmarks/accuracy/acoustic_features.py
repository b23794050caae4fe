"""Features of sound in the graph against librosa, over the same clips: milliseconds a clip."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.preprocessing.media.media_file import MediaFile
from benchmarks import inputs, report

RATE_HZ = 16_000
DURATION_S = 3.0
FFT, HOP = 1024, 256
BATCH = 32
Waves = np.ndarray
Work = Callable[[Waves], Any]

# === Clips ===


def clips(data: Path | None, work: Path, is_quick: bool) -> tuple[Waves, str]:
    """(32, 48,000) float32 at 16 kHz, and one line that says what they are."""
    size = round(DURATION_S * RATE_HZ)
    if data is None:
        paths = inputs.synthetic_corpus(work, is_quick)
        origin = "the SYNTHETIC voices of the sample corpus"
    else:
        paths = sorted(p for p in data.rglob("*") if p.suffix in (".wav", ".flac", ".mp4"))
        if not paths:
            raise SystemExit(f"no .wav, .flac or .mp4 below {data}; give a folder of recordings")
        origin = "real recordings"
    step = max(1, len(paths) // BATCH)
    chosen = paths[::step][:BATCH]
    waves = [np.resize(_decoded(path), size) for path in chosen]
    batch = np.stack([waves[number % len(waves)] for number in range(BATCH)])
    return batch, f"{BATCH} clips of {DURATION_S:g} s, 16 kHz, from {len(chosen)} of {origin}"


def _decoded(path: Path) -> np.ndarray:
    with MediaFile(path) as media:
        bounds = [(0.0, media.info.duration_s)]
        (tracks,) = media.segments(bounds, RATE_HZ, None, lambda frame: frame)
    if tracks.waveform is None or not len(tracks.waveform):
        raise SystemExit(f"{path}: no sound; give a folder of recordings with sound")
    return tracks.waveform


# === What is compared ===


def librosa_calls() -> dict[str, Callable[[np.ndarray], Any]]:
    """What each feature costs in librosa, called on the samples of one clip as float32."""
    import librosa

    of = librosa.feature
    whole: dict[str, Any] = {"sr": RATE_HZ, "n_fft": FFT, "hop_length": HOP}
    stft: dict[str, Any] = {"n_fft": FFT, "hop_length": HOP}
    framed: dict[str, Any] = {"frame_length": FFT, "hop_length": HOP}

    def mfcc_with_deltas(y: np.ndarray) -> None:
        values = of.mfcc(y=y, n_mfcc=40, **whole)
        of.delta(values)
        of.delta(values, order=2)

    alone: dict[str, Callable[[np.ndarray], Any]] = {
        "log_mel": lambda y: librosa.power_to_db(of.melspectrogram(y=y, **whole), ref=np.max),
        "mfcc": lambda y: of.mfcc(y=y, n_mfcc=40, **whole),
        "mfcc with deltas": mfcc_with_deltas,
        "chroma": lambda y: of.chroma_stft(y=y, tuning=0, **whole),
        "spectral_contrast": lambda y: of.spectral_contrast(y=y, **whole),
        "centroid_hz": lambda y: of.spectral_centroid(y=y, **whole),
        "bandwidth_hz": lambda y: of.spectral_bandwidth(y=y, **whole),
        "roll_off_hz": lambda y: of.spectral_rolloff(y=y, **whole),
        "flatness": lambda y: of.spectral_flatness(y=y, **stft),
        "zero_crossing_rate": lambda y: of.zero_crossing_rate(y, **framed),
        "rms": lambda y: of.rms(y=y, **framed),
    }
    in_sequence = [call for name, call in alone.items() if name not in ("log_mel", "mfcc")]
    return {
        **alone,
        "acoustic_sequence": lambda y: [call(y) for call in in_sequence],
        "harmonic": lambda y: librosa.effects.harmonic(y, **stft),
        "clip_statistics": _librosa_statistics,
    }


def _librosa_statistics(y: np.ndarray) -> None:
    """All transforms and reductions that the 276 statistics need, each made once."""
    import librosa

    spectrum = librosa.stft(y, n_fft=FFT, hop_length=HOP)
    magnitude = np.abs(spectrum)
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=RATE_HZ)
    coefficients = librosa.feature.mfcc(S=librosa.power_to_db(mel), n_mfcc=40)
    rows = [coefficients, mel, librosa.feature.chroma_stft(S=magnitude**2, sr=RATE_HZ, tuning=0)]
    rows.append(librosa.feature.spectral_contrast(S=magnitude, sr=RATE_HZ))
    rows.append(librosa.feature.zero_crossing_rate(y, frame_length=FFT, hop_length=HOP))
    rows.append(librosa.feature.rms(y=y, frame_length=FFT, hop_length=HOP))
    for row in rows:
        row.mean(axis=1)
    np.abs(librosa.effects.harmonic(y, n_fft=FFT, hop_length=HOP)).mean()
    librosa.autocorrelate(y, max_size=321).max()


def graph_calls() -> dict[str, Work]:
    """The same features of a batch (clips, samples) in the graph."""
    import tensorflow as tf

    from affectstream.modeling.features.audio.audio_frames import AudioFrames, Framing
    from affectstream.modeling.features.audio.clip_statistics import AcousticStatistics
    from affectstream.modeling.features.audio.frame_features import FrameFeatures
    from affectstream.modeling.features.audio.frame_sequences import ACOUSTIC_SEQUENCE
    from affectstream.modeling.features.audio.harmonic import harmonic
    from affectstream.modeling.features.audio.log_mel import LogMel

    def with_length(layer: Any) -> Callable[[Any], Any]:
        return lambda waves: layer(waves, tf.fill(tf.shape(waves)[:1], tf.shape(waves)[1]))

    def one_harmonic(wave: Any) -> Any:
        return harmonic(AudioFrames(wave[None], tf.shape(wave), Framing(RATE_HZ, FFT, HOP)))

    made: dict[str, Callable[[Any], Any]] = {
        "log_mel": LogMel(RATE_HZ, FFT, HOP, 128, 0.0, RATE_HZ / 2),
        "mfcc with deltas": with_length(FrameFeatures(["mfcc", "mfcc_delta", "mfcc_delta2"])),
        "acoustic_sequence": with_length(FrameFeatures(ACOUSTIC_SEQUENCE.parts)),
        "harmonic": lambda waves: tf.map_fn(
            one_harmonic, waves, fn_output_signature=tf.float64, parallel_iterations=2
        ),
        "clip_statistics": with_length(AcousticStatistics()),
    }
    for name in librosa_calls():
        if name not in made:
            made[name] = with_length(FrameFeatures([name]))
    return {name: functools.partial(_run, tf.function(call)) for name, call in made.items()}


def _run(call: Callable[[Any], Any], waves: Waves) -> None:
    import tensorflow as tf

    call(tf.constant(waves)).numpy()


# === Measuring ===


def milliseconds(work: Work, waves: Waves, budget_s: float) -> float:
    """Median milliseconds a clip, after one call that is not counted."""
    work(waves)
    times: list[float] = []
    began_s = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began_s < budget_s:
        start_s = time.perf_counter()
        work(waves)
        times.append(time.perf_counter() - start_s)
    return report.median(times) / len(waves) * 1000


def rows(waves: Waves, budget_s: float) -> list[tuple[str, ...]]:
    """Name, ms a clip by librosa and in the graph at batch 32 and 1, and both ratios."""
    ours = graph_calls()
    made = []
    for name, call in librosa_calls().items():
        theirs_ms = milliseconds(functools.partial(_each, call), waves[:4], budget_s)
        many_ms = milliseconds(ours[name], waves, budget_s)
        one_ms = milliseconds(ours[name], waves[:1], budget_s)
        figures = [f"{ms:.2f}" for ms in (theirs_ms, many_ms, one_ms)]
        ratios = [f"{theirs_ms / ms:.1f}" for ms in (many_ms, one_ms)]
        made.append((name, *figures, *ratios))
    return made


def _each(call: Callable[[np.ndarray], Any], waves: Waves) -> None:
    for wave in waves:
        call(wave)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--data", type=Path, help="folder of recordings; synthetic voices without")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    with report.work_folder(chosen.work) as work:
        waves, origin = clips(chosen.data, work, chosen.quick)
    machine = report.machine()
    cells = rows(waves[:2] if chosen.quick else waves, 0.0 if chosen.quick else 1.0)
    columns = ["feature", "librosa ms/clip", "graph, batch 32", "graph, batch 1"]
    columns += ["librosa / batch 32", "librosa / batch 1"]
    note = (
        f"{origin}. Frames of {FFT} each {HOP} samples; librosa 0.11 on float32 clip by clip,"
        " where each call makes its filters anew,"
        " the graph in float64 on all cores. Each feature makes its own transform, but within"
        " `acoustic_sequence` (all from `mfcc with deltas` to `rms`) and `clip_statistics` the"
        " graph makes one for all. Median of the calls of 1 s or more; a ratio above 1: the graph"
        " is faster."
    )
    parts = [note, report.table(columns, cells)]
    report.publish("Acoustic features", "acoustic_features", words, machine, parts, chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
