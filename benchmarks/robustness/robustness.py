"""Measures how stable a prediction is when audio or video of a recording gets worse."""

from __future__ import annotations

import itertools
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import scipy.signal

from affectstream.core import atomic_io
from affectstream.core.errors import MediaError
from affectstream.core.progress import track
from affectstream.opencv_model.detectors.detector import convert_colors
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, open_data_folder
from affectstream.preprocessing.file_kinds import IMAGE, media_type
from affectstream.preprocessing.media.media_file import rgb
from affectstream.preprocessing.media.video.still_images import read_still_image
from benchmarks import report, served
from benchmarks.accuracy import recordings
from benchmarks.accuracy.classical import records_of

MILD_TARGET = 0.90
STRONG_TARGET = 0.75
SNR_DB = 10.0
GAIN_DB = 12.0
MP3_BIT_RATE = 32_000
LOW_RATE_HZ = 8_000
ENLARGED = 4
JPEG_QUALITY = 30
# Of the pictures that are written; a film of 1000 frames per second is played rightly.
_TICK_S = Fraction(1, 1000)

Sound = tuple[np.ndarray, int]


# === Changes ===


@dataclass(frozen=True)
class Corruption:
    """A corruption of a recording.

    Attributes:
      stream: the stream that it happens to; recordings without it are left out.
      target: share of the answers that should stay.
      picture: (H, W, 3) uint8 RGB -> the same, of any size.
      sound: waveform (samples,) float32 and its rate in Hz, and chance -> the same.
      bit_rate: of MP3 in bit/s; None writes 16-bit PCM.
    """

    name: str
    stream: str
    target: float
    picture: Callable[[np.ndarray], np.ndarray] | None = None
    sound: Callable[[Sound, np.random.Generator], Sound] | None = None
    bit_rate: int | None = None


def gain(sound: Sound, db: float) -> Sound:
    """Changes the volume; samples beyond full scale are clipped, as in any recording."""
    return np.clip(sound[0] * 10 ** (db / 20), -1, 1).astype(np.float32), sound[1]


def noisy(sound: Sound, rng: np.random.Generator, snr_db: float = SNR_DB) -> Sound:
    """With white noise whose power is `snr_db` below that of the whole recording."""
    waveform, rate_hz = sound
    rms = math.sqrt(float(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0
    noise = rng.standard_normal(len(waveform)) * rms * 10 ** (-snr_db / 20)
    return np.clip(waveform + noise, -1, 1).astype(np.float32), rate_hz


def narrow(sound: Sound, rate_hz: int = LOW_RATE_HZ) -> Sound:
    """At the rate of a telephone."""
    common = math.gcd(rate_hz, sound[1])
    made = scipy.signal.resample_poly(sound[0], rate_hz // common, sound[1] // common)
    return made.astype(np.float32), rate_hz


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    """Scales the whole image and the face in it."""
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=how)


def squeezed(picture: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Through JPEG and back."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if read is None:
        raise RuntimeError(f"JPEG of a picture of shape {picture.shape} failed")
    return read[..., ::-1]


CORRUPTIONS = (
    Corruption("MP3, 32 kbit/s", "audio", MILD_TARGET, bit_rate=MP3_BIT_RATE),
    Corruption("gain +12 dB", "audio", MILD_TARGET, sound=lambda given, _: gain(given, GAIN_DB)),
    Corruption("gain -12 dB", "audio", MILD_TARGET, sound=lambda given, _: gain(given, -GAIN_DB)),
    Corruption("picture at double size", "video", MILD_TARGET, lambda picture: scaled(picture, 2)),
    Corruption("JPEG, quality 30", "video", MILD_TARGET, squeezed),
    Corruption("8 kHz", "audio", STRONG_TARGET, sound=lambda given, _: narrow(given)),
    Corruption("white noise, SNR 10 dB", "audio", STRONG_TARGET, sound=noisy),
    Corruption(
        "picture at half size", "video", STRONG_TARGET, lambda picture: scaled(picture, 0.5)
    ),
)


# === Files ===


def write_corrupted(source: Path, folder: Path, change: Corruption) -> Path:
    """A recording after a change, written without further loss; returns where."""
    if media_type(source) == IMAGE:
        picture = read_still_image(
            Clip(source, source.name, corpus="", label="", speaker="", recording=source.name)
        )
        out = folder / "changed.png"
        _require(cv2.imwrite(str(out), (change.picture or _same)(picture)[..., ::-1]), out)
        return out
    out = folder / "changed.mkv"
    rng = np.random.default_rng(int(atomic_io.digest(source.name), 16))
    sound = _sound(source)
    if sound is not None and change.sound is not None:
        sound = change.sound(sound, rng)
    made = ((t, (change.picture or _same)(picture)) for t, picture in _pictures(source))
    first = next(made, None)
    with av.open(str(out), "w", format="matroska") as container:
        # All streams must be known before anything is written.
        heard = None if sound is None else _sound_stream(container, sound[1], change.bit_rate)
        shown = None if first is None else _picture_stream(container, first[1])
        if sound is not None:
            _write_sound(container, heard, *sound)
        if first is not None:
            _write_pictures(container, shown, itertools.chain([first], made))
    return out


def _same(picture: np.ndarray) -> np.ndarray:
    return picture


def _require(done: bool, out: Path) -> None:
    if not done:
        raise RuntimeError(f"{out}: could not be written")


def _sound(source: Path) -> Sound | None:
    """(samples,) float32 of all channels together, at the file's own rate."""
    with av.open(str(source)) as container:
        if not container.streams.audio:
            return None
        rate_hz = int(container.streams.audio[0].rate)
        mono = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
        frames = [f for given in container.decode(audio=0) for f in mono.resample(given)]
        blocks = [frame.to_ndarray()[0] for frame in [*frames, *mono.resample(None)]]
    return (np.concatenate(blocks), rate_hz) if blocks else None


def _pictures(source: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Time in seconds and (H, W, 3) uint8 RGB of each frame, upright."""
    with av.open(str(source)) as container:
        if container.streams.video:
            for frame in container.decode(video=0):
                yield float(frame.time or 0), rgb(frame)


def _sound_stream(container: Any, rate_hz: int, bit_rate: int | None) -> Any:
    stream = container.add_stream("pcm_s16le" if bit_rate is None else "libmp3lame", rate=rate_hz)
    stream.layout = "mono"
    stream.format = "s16" if bit_rate is None else "s16p"
    if bit_rate is not None:
        stream.bit_rate = bit_rate
    return stream


def _picture_stream(container: Any, picture: np.ndarray) -> Any:
    """Lossless, and quick to write."""
    settings = {"preset": "ultrafast", "qp": "0"}
    stream = container.add_stream("libx264rgb", rate=30, options=settings)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "rgb24"
    stream.codec_context.time_base = _TICK_S
    return stream


def _write_sound(container: Any, stream: Any, waveform: np.ndarray, rate_hz: int) -> None:
    pcm = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    step = stream.codec_context.frame_size or 1024
    for start in range(0, len(pcm), step):
        block = pcm[None, start : start + step]
        frame = av.AudioFrame.from_ndarray(block, stream.format.name, "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_pictures(
    container: Any, stream: Any, pictures: Iterable[tuple[float, np.ndarray]]
) -> None:
    for time_s, picture in pictures:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
        frame.pts, frame.time_base = round(time_s / _TICK_S), _TICK_S
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


# === Asking ===


@dataclass(frozen=True)
class PredictionStability:
    """What became of the answers under one change."""

    change: Corruption
    num_asked: int = 0
    num_kept: int = 0
    num_lost: int = 0

    @property
    def row(self) -> tuple[str, ...]:
        kind = "mild" if self.change.target == MILD_TARGET else "strong"
        if not self.num_asked:
            return (self.change.name, kind, "0", "0", "-", "-", f"{self.change.target:.0%}", "-")
        share = self.num_kept / self.num_asked
        judged = report.verdict(share >= self.change.target)
        counts = (str(self.num_asked), str(self.num_lost), str(self.num_kept))
        return (
            self.change.name,
            kind,
            *counts,
            f"{share:.0%}",
            f"{self.change.target:.0%}",
            judged,
        )


def measure_stability(
    recognizer: Any, files: Sequence[Path], work: Path
) -> tuple[list[PredictionStability], int]:
    """What each change does to the answers; and how many of the files were answered at all.

    An answer that a change makes impossible counts as lost, and as not kept.
    """
    counts = {change.name: [0, 0, 0] for change in CORRUPTIONS}
    num_answered = 0
    for file in track(files, len(files), "robustness", "file"):
        try:
            before = recognizer(file)
        except MediaError:
            continue
        num_answered += 1
        for change in CORRUPTIONS:
            if change.stream not in before.streams:
                continue
            count = counts[change.name]
            count[0] += 1
            try:
                after = recognizer(write_corrupted(file, work, change))
            except MediaError:
                count[2] += 1
                continue
            count[1] += after.label == before.label
            count[2] += change.stream not in after.streams
    return [
        PredictionStability(change, *counts[change.name]) for change in CORRUPTIONS
    ], num_answered


def write_pictures(data: DataFolder, out: Path, each: int) -> None:
    """Writes the first faces of each class of the test part, as pictures in which one is found.

    They are enlarged `ENLARGED` times and their edge is drawn out by a third on each side, for
    detectors miss what fills the picture.
    """
    out.mkdir(parents=True, exist_ok=True)
    by_label: dict[str, list[ClipRow]] = {}
    for row in data.subset("test"):
        by_label.setdefault(row.label, []).append(row)
    in_order = (sorted(found, key=operator.attrgetter("id")) for found in by_label.values())
    rows = [row for found in in_order for row in found[:each]]
    for record in records_of(data, rows):
        path = out / f"{record.label}-{Path(record.id).stem}.png"
        cv2.imwrite(str(path), face_picture(record.faces[0])[..., ::-1])  # it writes blue first


def face_picture(face: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB image around a face crop (h, w, 1 or 3) uint8."""
    colored = convert_colors(face[..., 0] if face.shape[2] == 1 else face, "rgb")
    picture = cv2.resize(colored, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    edge = picture.shape[0] // 3
    return cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE)


def main(words: Sequence[str] = ()) -> int:
    """Asks, and writes the table; 1 where a target is missed."""
    words = list(words or sys.argv[1:])
    options = recordings.parser(__doc__, "robustness-sound")
    options.add_argument(
        "--pictures-of", type=Path, help="prepared faces, whose test part is written to --clips"
    )
    options.add_argument("--each", type=int, default=30, help="pictures of each class, with that")
    chosen = options.parse_args(words)
    if chosen.pictures_of and not chosen.clips:
        options.error("--pictures-of needs --clips, where they are written")
    if chosen.pictures_of:
        with report.user_errors():
            write_pictures(open_data_folder(chosen.pictures_of), chosen.clips, chosen.each)
    machine = report.machine()
    with recordings.chosen_files(chosen) as (files, work):
        recognizer = recordings.recognizer(chosen)
        found, num_answered = measure_stability(recognizer, files, work)
    rows = [one.row for one in found]
    columns = ("change", "kind", "asked", "stream lost", "kept", "share", "target", "verdict")
    parts = [
        f"{num_answered} of {len(files)} files were answered by {recognizer!r}. Each change is made"
        " to sound or picture alone, the rest stays; a file is asked under a change when its own"
        " answer used that stream. `kept`: the label over the whole file is the same as before."
        " `stream lost`: nothing of that stream was usable afterwards (no face found).",
        report.table(columns, rows),
    ]
    report.publish(
        "Answers kept under changes",
        "robustness",
        words,
        machine,
        parts,
        chosen,
    )
    return served.exit_code(rows)


if __name__ == "__main__":
    raise SystemExit(main())
