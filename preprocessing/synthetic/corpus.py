"""Writes the sample corpus: synthetic audio-visual clips with RAVDESS-style names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectstream.core import atomic_io
from affectstream.core.errors import UserError, pluralize
from affectstream.preprocessing.synthetic.emotions import EMOTIONS, sample_take
from affectstream.preprocessing.synthetic.encoding import read_metadata, write_mp4
from affectstream.preprocessing.synthetic.face import FaceArtist
from affectstream.preprocessing.synthetic.head import FRAME_HEIGHT_PX, FRAME_WIDTH_PX
from affectstream.preprocessing.synthetic.motion import VIDEO_FPS, moments
from affectstream.preprocessing.synthetic.phonemes import STATEMENTS
from affectstream.preprocessing.synthetic.speakers import Speaker, make_speaker
from affectstream.preprocessing.synthetic.voice import SAMPLE_RATE_HZ, STEP_S, Speech, speak

# Increase it when a code change alters the generated video or audio.
VERSION = 2
EMOTION_CODES = {
    "neutral": "01",
    "happy": "03",
    "sad": "04",
    "angry": "05",
    "fearful": "06",
    "disgust": "07",
    "surprised": "08",
}
MAX_SPEAKERS, MAX_TAKES = 99, 4
MIN_DURATION_S, MAX_DURATION_S = 2.0, 30.0
TITLE = "synthetic: Affectstream sample corpus"

_README = """SYNTHETIC DATA: no person was recorded.

The faces are drawn and the voices synthesised by the `synthesize` command of Affectstream. What
is learned or measured here says nothing about real people; use it to see the program work.

{num_speakers} speakers x {num_emotions} emotions x {num_takes} takes of {duration_s:g} s.
Seed {seed}, generator version {version}.
Names follow RAVDESS: modality-channel-emotion-intensity-statement-repetition-actor; emotion
{codes}.
Odd actors have the lower voices. The two sentences carry no emotion:
"{first}" and "{second}".
"""


@dataclass(frozen=True)
class ClipPlan:
    """One clip to be made; takes 1 to 4 are the four pairs of statement and repetition."""

    seed: int
    actor: int
    emotion: str
    take: int
    duration_s: float

    @property
    def repetition(self) -> int:
        """1 or 2."""
        return (self.take - 1) % 2 + 1

    @property
    def statement(self) -> int:
        """1 or 2; both occur in every emotion, differently from speaker to speaker."""
        return 1 + (self.actor + self.repetition + (self.take - 1) // 2) % 2

    @property
    def name(self) -> str:
        """Path within the corpus, as RAVDESS names it."""
        fields = ("01", "01", EMOTION_CODES[self.emotion], "01")
        stem = "-".join(
            (*fields, f"{self.statement:02d}", f"{self.repetition:02d}", f"{self.actor:02d}")
        )
        return f"Actor_{self.actor:02d}/{stem}.mp4"

    @property
    def provenance_tag(self) -> str:
        """Provenance tag in the file, by which a later run recognises it."""
        settings = atomic_io.digest({**asdict(self), "version": VERSION})
        return f"synthetic; generator version {VERSION}; seed {self.seed}; settings {settings}"


# === Clip ===


@lru_cache(maxsize=2)
def _cast(seed: int, actor: int) -> tuple[Speaker, FaceArtist]:
    speaker = make_speaker(seed, actor)
    return speaker, FaceArtist(seed, speaker)


def render(plan: ClipPlan) -> tuple[Speech, Iterator[NDArray[np.uint8]]]:
    """Voice and frames of one clip before encoding; the same for the same plan.

    Returns:
      The speech (mono, 48 kHz) and an iterator of (360, 480, 3) uint8 RGB frames at 25 a second.
    """
    speaker, artist = _cast(plan.seed, plan.actor)
    take = sample_take(plan.seed, plan.actor, plan.emotion, plan.take)
    key = [plan.seed, 41, plan.actor, EMOTIONS.index(plan.emotion), plan.take]
    rng = np.random.default_rng(key)
    speech = speak(speaker, take.voice, plan.statement, plan.duration_s, rng)
    num_frames = round(plan.duration_s * VIDEO_FPS)
    at = np.minimum(np.arange(num_frames) / VIDEO_FPS / STEP_S, len(speech.opening) - 1)
    at = at.astype(int)
    opening, rounding = speech.opening[at], speech.rounding[at]
    path = moments(speaker, take.face, opening, rounding, num_frames, rng)
    return speech, artist.frames(path)


def _write_clip(path: Path, plan: ClipPlan) -> None:
    speech, frames = render(plan)
    metadata = {
        "title": TITLE,
        "comment": plan.provenance_tag,
        "artist": f"synthetic speaker {plan.actor}",
    }
    with atomic_io.atomic_write(path) as temporary:
        write_mp4(temporary, frames, speech.waveform, VIDEO_FPS, SAMPLE_RATE_HZ, metadata)


# === Corpus ===


def _check(num_speakers: int, num_takes: int, seed: int, duration_s: float) -> None:
    """Raises UserError for a setting out of range."""
    if not 1 <= num_speakers <= MAX_SPEAKERS:
        raise UserError(f"{pluralize(num_speakers, 'speaker')} asked for; give 1 to {MAX_SPEAKERS}")
    if not 1 <= num_takes <= MAX_TAKES:
        raise UserError(f"{num_takes} takes asked for; give 1 to {MAX_TAKES}")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; give 0 or more")
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise UserError(
            f"duration {duration_s:g} s; give {MIN_DURATION_S:g} to {MAX_DURATION_S:g} seconds"
        )


def _check_folder(out: Path, planned: dict[Path, ClipPlan]) -> None:
    """Raises UserError if the folder contains real recordings, or clips that were not requested."""
    for path in sorted(out.rglob("*.mp4")):
        if atomic_io.TEMPORARY_MARK in path.name:
            continue
        if not read_metadata(path).get("comment", "").startswith("synthetic;"):
            raise UserError(f"{path}: not a synthetic clip of ours; choose an empty folder")
        if path not in planned:
            raise UserError(
                f"{path}: left from a run with other settings; remove it or choose another folder"
            )


def _describe(out: Path, num_speakers: int, num_takes: int, seed: int, duration_s: float) -> None:
    """Writes README.txt and SYNTHETIC.json."""
    about = {
        "synthetic": True,
        "what": "drawn faces and synthesised voices; no person was recorded",
        "version": VERSION,
        "seed": seed,
        "num_speakers": num_speakers,
        "num_takes": num_takes,
        "duration_s": duration_s,
        "video": {"codec": "h264", "fps": VIDEO_FPS, "size": [FRAME_WIDTH_PX, FRAME_HEIGHT_PX]},
        "audio": {"codec": "aac", "sample_rate_hz": SAMPLE_RATE_HZ, "channels": 1},
        "emotion_codes": EMOTION_CODES,
        "statements": {f"{index:02d}": text for index, text in enumerate(STATEMENTS, 1)},
    }
    atomic_io.write_json(out / "SYNTHETIC.json", about)
    codes = ", ".join(f"{code} {name}" for name, code in EMOTION_CODES.items())
    readme = _README.format(
        **about, num_emotions=len(EMOTIONS), codes=codes, first=STATEMENTS[0], second=STATEMENTS[1]
    )
    atomic_io.write_text(out / "README.txt", readme)


def synthesize(
    out: Path,
    num_speakers: int = 8,
    num_takes: int = 2,
    seed: int = 0,
    duration_s: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes the synthetic sample corpus; files of the same settings that exist are kept.

    Args:
      out: folder for `Actor_01/01-01-03-01-01-01-01.mp4` and so on.
      num_speakers: invented speakers, 1 to 99; the first ones are the same for any number.
      num_takes: clips of each speaker and emotion, 1 to 4.
      seed: other seeds give other speakers and takes.
      duration_s: length of each clip, 2 to 30.
      progress: called with (clips done, clips in all) after each clip.

    Returns:
      The mp4 files, in the order of speaker, emotion and take.

    Raises:
      UserError: a setting is out of range, `out` holds other recordings, or cannot be written.
    """
    out = Path(out)
    _check(num_speakers, num_takes, seed, duration_s)
    planned = {
        out / plan.name: plan
        for actor in range(1, num_speakers + 1)
        for emotion in EMOTIONS
        for take in range(1, num_takes + 1)
        for plan in [ClipPlan(seed, actor, emotion, take, float(duration_s))]
    }
    _check_folder(out, planned)
    _describe(out, num_speakers, num_takes, seed, float(duration_s))
    for folder in {path.parent for path in planned}:
        atomic_io.remove_stale_temporaries(folder)
    for done, (path, plan) in enumerate(planned.items(), 1):
        if not (path.is_file() and read_metadata(path).get("comment") == plan.provenance_tag):
            _write_clip(path, plan)
        if progress is not None:
            progress(done, len(planned))
    return list(planned)
