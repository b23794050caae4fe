"""How recordings are cut into windows, and answers pooled: chosen on validation speakers.

Every model of a finished `crossval` of a voice recipe answers for the speakers on whom it was
validated, never for those it tests. Longer recordings are two clips of one speaker and emotion,
joined. The second table keeps only a part of each window's sound, beside a face whose action units
a logistic regression reads, to choose the least share of a window that a stream must cover.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from affectstream.core import atomic_io
from affectstream.modeling.crossval.run import PLAN
from affectstream.modeling.metrics.classification import accuracies
from affectstream.modeling.runs.run_folder import is_run, read_run
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from affectstream.preprocessing.labels import LabelSet
from affectstream.preprocessing.model_rows import pad_audio
from affectstream.preprocessing.pcm import INT16_SCALE
from affectstream.preprocessing.windowing import POOLINGS, WindowSettings, pool, window_bounds
from benchmarks import report
from benchmarks.accuracy.classical import records_of

WINDOWS_S = (3.0, 3.5, 4.0)
HOPS_S = (0.5, 1.0, 1.5)
COVERED_WINDOW_S = 3.5
COVERAGES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)
# RAVDESS's actors begin to speak about one second into a clip.
SPEECH_BEGINS_S = 1.0
ROWS_A_STEP = 32
# (samples,) float32 each -> (windows, classes) probabilities.
Answer = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class LabeledWaveform:
    """One recording: which one, (samples,) float32, and the number of its class."""

    recording: str
    waveform: np.ndarray
    truth: int


def sounds_of(data: DataFolder, labels: LabelSet) -> dict[str, list[LabeledWaveform]]:
    """The recordings of each speaker."""
    rows = [row for row in data.rows if labels.index(row.label) is not None]
    found: dict[str, list[LabeledWaveform]] = {}
    for record in records_of(data, rows):
        truth = labels.index(record.label)
        assert truth is not None
        waveform = record.waveform.astype(np.float32) / INT16_SCALE
        found.setdefault(record.speaker, []).append(
            LabeledWaveform(record.recording, waveform, truth)
        )
    return found


def joined(sounds: Sequence[LabeledWaveform], seed: int = 0) -> list[LabeledWaveform]:
    """Two and two recordings of one speaker and class, one after the other."""
    rng = np.random.default_rng(seed)
    made = []
    for truth in sorted({sound.truth for sound in sounds}):
        own = [sound for sound in sounds if sound.truth == truth]
        order = rng.permutation(len(own))
        for first, second in zip(order[::2], order[1::2], strict=False):
            both = np.concatenate([own[first].waveform, own[second].waveform])
            made.append(LabeledWaveform(own[first].recording, both, truth))
    return made


def rules(longest_s: float) -> dict[str, WindowSettings]:
    """The compared window settings by display name; `longest_s`: the longest recording."""
    made = {"the recording whole": WindowSettings(longest_s)}
    for pooling in POOLINGS:
        for window_s in WINDOWS_S:
            for hop_s in HOPS_S:
                told = f"{window_s:g} s every {hop_s:g} s, {pooling}"
                made[told] = WindowSettings(window_s, hop_s, pooling)
    return made


def pooled(
    sounds: Sequence[LabeledWaveform],
    settings: Sequence[WindowSettings],
    rate_hz: int,
    answer: Answer,
) -> list[np.ndarray]:
    """(recordings, classes) for each setting; each window is predicted once."""
    bounds = [
        [window_bounds(len(sound.waveform) / rate_hz, one) for sound in sounds] for one in settings
    ]
    asked = sorted(
        {
            (i, round(start_s * rate_hz), round(end_s * rate_hz))
            for by_sound in bounds
            for i, cut in enumerate(by_sound)
            for start_s, end_s in cut
        },
        key=lambda window: window[2] - window[1],
    )
    known: dict[tuple[int, int, int], np.ndarray] = {}
    for first in range(0, len(asked), ROWS_A_STEP):
        few = asked[first : first + ROWS_A_STEP]
        answers = answer([sounds[i].waveform[start:end] for i, start, end in few])
        known |= dict(zip(few, answers, strict=True))
    return [
        np.stack(
            [
                pool(
                    np.stack([known[i, round(a * rate_hz), round(b * rate_hz)] for a, b in cut]),
                    one.pooling,
                )
                for i, cut in enumerate(by_sound)
            ]
        )
        for one, by_sound in zip(settings, bounds, strict=True)
    ]


def partly_silent_window(
    sound: LabeledWaveform, coverage: float, window_s: float, rate_hz: int
) -> np.ndarray:
    """The first window, with audio in only a share of it from the first speech on."""
    window = np.zeros(round(window_s * rate_hz), np.float32)
    length = round(coverage * len(window))
    start = min(round(SPEECH_BEGINS_S * rate_hz), len(window) - length)
    heard = sound.waveform[start : start + length]
    window[start : start + len(heard)] = heard
    return window


def face_probabilities(
    table: Path, train: Sequence[LabeledWaveform], asked: Sequence[LabeledWaveform]
) -> np.ndarray:
    """(asked, classes) of a logistic regression on clip means of OpenFace's action units.

    Args:
      table: `;`-separated, columns `AU..` and `name`: the file name of RAVDESS's audio-visual clip.
    """
    with table.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file, delimiter=";"))
    units = [name for name in read[0] if name.startswith("AU")]
    # The sound alone is the same recording as the film: all fields but the first agree.
    values = {row["name"][3:]: [float(row[unit]) for unit in units] for row in read}

    def features(sounds: Sequence[LabeledWaveform]) -> np.ndarray:
        return np.array([values[sound.recording.rsplit("/", 1)[-1]] for sound in sounds])

    regression = LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression)
    model.fit(features(train), [sound.truth for sound in train])
    return np.asarray(model.predict_proba(features(asked)))


# === Asking the models of a crossval ===


def load_predictor(run: Path) -> tuple[Answer, LabelSet, int]:
    """What a run answers to waveforms, its labels and its sampling rate in Hz."""
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    import tensorflow as tf

    from affectstream.modeling.evaluation.inference import inference_model, load_run
    from affectstream.modeling.runs.run_folder import label_set_of

    model, info = load_run(run)
    network = inference_model(model, info)
    call = tf.function(lambda given: network(given, training=False)["probabilities"])

    def answer(waveforms: Sequence[np.ndarray]) -> np.ndarray:
        given = {key: tf.constant(value) for key, value in pad_audio(waveforms).items()}
        return np.asarray(call(given))

    return answer, label_set_of(info), int(info.input["sample_rate_hz"])


def measure(crossval: Path, data: DataFolder, units: Path | None) -> list[str]:
    """The tables, over the validation speakers of every fold that is trained to its end."""
    plan = atomic_io.read_json(crossval / PLAN)
    held: dict[str, list[np.ndarray]] = {}
    truths: dict[str, list[int]] = {"clips": [], "joined": [], "faces": []}
    settings: dict[str, WindowSettings] = {}
    num_folds = 0
    for fold in plan["folds"]:
        run = crossval / f"fold-{fold['number']}-seed-0"
        if not (is_run(run) and read_run(run).finished):
            continue
        num_folds += 1
        answer, labels, rate_hz = load_predictor(run)
        by_speaker = sounds_of(data, labels)
        own = [sound for speaker in fold["validation"] for sound in by_speaker[speaker]]
        pairs = [two for speaker in fold["validation"] for two in joined(by_speaker[speaker])]
        longest_s = max(len(sound.waveform) for sound in [*own, *pairs]) / rate_hz
        settings = rules(longest_s)
        for kind, sounds in (("clips", own), ("joined", pairs)):
            truths[kind] += [sound.truth for sound in sounds]
            made = pooled(sounds, list(settings.values()), rate_hz, answer)
            for told, probabilities in zip(settings, made, strict=True):
                held.setdefault(f"{kind} {told}", []).append(probabilities)
        if units is not None:
            apart = {*fold["test"], *fold["validation"]}
            train = [s for name, many in by_speaker.items() if name not in apart for s in many]
            for told, probabilities in beside_a_face(own, train, units, rate_hz, answer).items():
                held.setdefault(told, []).append(probabilities)
            truths["faces"] += [sound.truth for sound in own]
    return _tables(settings, held, truths, num_folds, units is not None)


def beside_a_face(
    own: Sequence[LabeledWaveform],
    train: Sequence[LabeledWaveform],
    units: Path,
    rate_hz: int,
    answer: Answer,
) -> dict[str, np.ndarray]:
    """(recordings, classes) of the face, of audio that covers a share of a window, and of both."""
    face = face_probabilities(units, train, own)
    made = {"face": face}
    for coverage in COVERAGES:
        windows = [
            partly_silent_window(sound, coverage, COVERED_WINDOW_S, rate_hz) for sound in own
        ]
        voice = np.concatenate(
            [answer(windows[i : i + ROWS_A_STEP]) for i in range(0, len(windows), ROWS_A_STEP)]
        )
        made[f"sound {coverage:g}"] = voice
        both = face * voice
        made[f"both {coverage:g}"] = both / both.sum(axis=1, keepdims=True)
    return made


def _tables(
    settings: dict[str, WindowSettings],
    held: dict[str, list[np.ndarray]],
    truths: dict[str, list[int]],
    num_folds: int,
    has_faces: bool,
) -> list[str]:
    def uar(told: str, kind: str) -> str:
        guesses = np.concatenate(held[told]).argmax(axis=1)
        return f"{accuracies(np.array(truths[kind]), guesses)['uar']:.3f}"

    rows = [
        (told, *(uar(f"{kind} {told}", kind) for kind in ("clips", "joined"))) for told in settings
    ]
    columns = (
        "windows, what is averaged",
        f"{len(truths['clips'])} clips",
        f"{len(truths['joined'])} joined",
    )
    parts = [
        f"UAR on the validation speakers of {num_folds} folds; nobody whom a fold tests is asked.",
        report.table(columns, rows),
    ]
    if has_faces:
        covered = [
            (
                f"{coverage:g}",
                uar(f"sound {coverage:g}", "faces"),
                uar(f"both {coverage:g}", "faces"),
            )
            for coverage in COVERAGES
        ]
        parts += [
            f"Sound in a share of a window of {COVERED_WINDOW_S:g} s, the rest zeros, beside the"
            f" whole face (alone: {uar('face', 'faces')}); probabilities multiplied.",
            report.table(("share with sound", "sound alone", "both"), covered),
        ]
    return parts


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    options = report.parser(__doc__, has_quick=False, section="windowing")
    options.add_argument("crossval", type=Path, help="folder of a finished crossval of a voice")
    options.add_argument("--data", type=Path, required=True, help="what it was trained on")
    options.add_argument("--action-units", type=Path, help="OpenFace's clip means of the same")
    chosen = options.parse_args(words)
    machine = report.machine()
    with report.user_errors():
        data = open_data_folder(chosen.data)
        parts = measure(chosen.crossval, data, chosen.action_units)
    report.publish("Windows and pooling", "windowing", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
