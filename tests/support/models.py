"""What the tests of models share: data folders written straight as records, and a way to type."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from affectstream import cli
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.dataset.splits import DEFAULT_RULE, make_splits
from affectstream.preprocessing.labels import BASIC7
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.pcm import to_pcm
from affectstream.preprocessing.records.record import Record, ShardWriter
from affectstream.preprocessing.records.record_settings import RecordSettings

LABELS = BASIC7.labels
SIZE_PX = 32
RATE_HZ = 16_000
BOTH = ("audio", "video")
ALL = (*BOTH, "text")
# Words that tell the label, and words that do not.
WORDS_OF_LABEL = {
    "neutral": "report schedule",
    "happy": "wonderful laugh",
    "sad": "lonely tears",
    "angry": "furious shout",
    "fearful": "terrified dark",
    "disgust": "rotten filthy",
    "surprised": "unexpected wow",
}
FILLER_WORDS = (
    "the a this that there here then again about with from because today now still really"
)

# === Records ===


def sentence(label: str, rng: np.random.Generator) -> str:
    """Six words, two of which tell the label."""
    words = [*WORDS_OF_LABEL[label].split(), *rng.choice(FILLER_WORDS.split(), 4)]
    return " ".join(rng.permutation(words))


def face(label: int, rng: np.random.Generator) -> np.ndarray:
    """(32, 32, 1) uint8: a bright bar whose height in the picture tells the label."""
    picture = rng.integers(0, 60, (SIZE_PX, SIZE_PX, 1)).astype(np.uint8)
    picture[4 * label : 4 * label + 4] += 150
    return picture


def sound(label: int, rng: np.random.Generator, rate_hz: int, seconds: float) -> np.ndarray:
    """(samples,) float32: a sine in noise whose pitch tells the label."""
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sine = 0.3 * np.sin(2 * np.pi * 200 * 1.5**label * at_s)
    return (sine + 0.01 * rng.standard_normal(len(at_s))).astype(np.float32)


def record(
    speaker: str,
    label: str,
    take: int = 0,
    streams: Sequence[str] = BOTH,
    corpus: str = "toy",
    num_frames: int = 3,
    rate_hz: int = RATE_HZ,
    seconds: float = 0.6,
    **changes: Any,
) -> Record:
    """One record whose sound, picture and words follow from its arguments only."""
    number = LABELS.index(label) if label in LABELS else 0
    rng = np.random.default_rng([*f"{corpus}/{speaker}/{take}".encode(), number])
    name = f"{speaker}-{label}-{take}"
    waveform, faces = np.zeros(0, np.int16), np.zeros((0, 0, 0, 0), np.uint8)
    if "audio" in streams:
        waveform = to_pcm(sound(number, rng, rate_hz, seconds))
    if "video" in streams:
        faces = np.stack([face(number, rng) for _ in range(num_frames)])
    words = sentence(label, rng) if "text" in streams else ""
    made = Record(
        id=f"{corpus}/{name}",
        path=f"{name}.mp4",
        corpus=corpus,
        label=label,
        speaker=f"{corpus}/{speaker}" if speaker else "",
        recording=f"{corpus}/{name}",
        start_s=0.0,
        end_s=seconds,
        waveform=waveform,
        sample_rate_hz=rate_hz,
        faces=faces,
        face_mask=np.ones(len(faces), bool),
        frame_times_s=np.arange(len(faces), dtype=np.float32) / 10,
        boxes_px=np.zeros((len(faces), 4), np.float32),
        audio_hash=content_hash(waveform.tobytes()) if len(waveform) else "",
        video_hash=content_hash(faces.tobytes()) if len(faces) else "",
        detector="haar",
        num_frames=len(faces),
        transcript=words,
    )
    return replace(made, **changes)


def records(
    num_speakers: int = 3, num_takes: int = 1, labels: Sequence[str] = LABELS, **settings: Any
) -> list[Record]:
    """One record for each speaker, label and take."""
    return [
        record(f"{speaker:02d}", label, take, **settings)
        for speaker in range(1, num_speakers + 1)
        for label in labels
        for take in range(num_takes)
    ]


def clip_row_of(one: Record, shard: str, excluded: str = "") -> ClipRow:
    return replace(one.row(shard), excluded=excluded)


# === Data folders ===


def write_data(
    folder: Path,
    made: Iterable[Record],
    num_shards: int = 2,
    rule: dict[str, Any] = DEFAULT_RULE,
    excluded: Sequence[str] = (),
    synthetic: bool = False,
    rate_hz: int = RATE_HZ,
    face_format: CropFormat = CropFormat(SIZE_PX, "grey"),  # noqa: B008  (frozen)
) -> Path:
    """Writes a data folder as `preprocess` does; records go to the shards in turn."""
    made = list(made)
    shards = folder / data_folder.SHARDS_FOLDER
    shards.mkdir(parents=True)
    rows = []
    for number in range(num_shards):
        name = f"{number:05d}.tfrecord"
        with ShardWriter(shards / name) as writer:
            for one in made[number::num_shards]:
                writer.write(one)
                rows.append(clip_row_of(one, name, "left out" if one.id in excluded else ""))
    rows.sort(key=lambda row: row.id)
    preparation = RecordSettings("haar", FrameSampling("time", 4), face_format, rate_hz)
    settings = {
        "corpus": "toy",
        "sample_rate_hz": rate_hz,
        "synthetic": synthetic,
        "licence": "CC0 1.0",
        "citation": "",
        "preparation": preparation.as_json(),
    }
    data_folder.write_settings(folder, settings)
    data_folder.write_rows(folder, rows)
    data_folder.write_splits(folder, make_splits(rows, rule))
    return folder


# === The command line ===


def run(*words: object) -> int:
    """Types a command; its exit code.

    `predict` reads in this process unless the words say otherwise, which spares starting another.
    """
    here = ("--workers", "0") if words[:1] == ("predict",) and "--workers" not in words else ()
    return cli.main([str(word) for word in (*words, *here)])


def train(out: Path, *words: object, stream: str = "video", data: Path | None = None) -> int:
    """Types `train` with few epochs; `words` come last and win."""
    source = ("--data", data) if data is not None else ()
    return run("train", "--stream", stream, *source, "--out", out, "--epochs", 2, *words)


def settings(*words: str) -> tuple[str, ...]:
    """`key=value` words as typed: each behind a `--set`."""
    return tuple(typed for word in words for typed in ("--set", word))


def error_line(text: str) -> str:
    """The only line of an error: its last, which begins with "Error:".

    Fails where a traceback, or a second line of the error, is found.
    """
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, text
    assert text.rstrip().endswith(lines[0]), text
    return lines[0]


def history(run_folder: Path) -> list[dict[str, str]]:
    """Rows of `history.csv` without what depends on the clock."""
    with open(run_folder / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clock = ("seconds", "input_wait_share")
    return [{key: value for key, value in row.items() if key not in clock} for row in rows]


def picture(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 of a picture file that must be there and readable."""
    read = cv2.imread(str(path))
    assert read is not None, path
    return read


def save_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays for another process to read."""
    np.savez(path, **arrays)


def weights(path: Path) -> dict[str, np.ndarray]:
    """Every weight of a `.keras` file, the optimizer's too where it is in it."""
    from affectstream.modeling.runs import checkpoints

    model = checkpoints.load_model(path)
    found = {f"weight {i}": np.asarray(v) for i, v in enumerate(model.weights)}
    if getattr(model, "optimizer", None) is not None:
        adam = model.optimizer.variables
        found |= {f"optimizer {i}": np.asarray(v) for i, v in enumerate(adam)}
    return found
