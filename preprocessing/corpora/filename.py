"""Corpora whose file names say everything: one row of a table each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from errors import UserError, from_os_error
from preprocessing.clip import Clip, Inventory, Rejection

MEDIA_SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".opus",
        ".m4a",
        ".aac",
        ".wma",
        ".aif",
        ".aiff",
        ".mp4",
        ".mov",
        ".mkv",
        ".avi",
        ".webm",
        ".m4v",
        ".mpg",
        ".flv",
    ]
)


@dataclass(frozen=True)
class FilenameCorpus:
    """A corpus told by its file names, at any folder depth.

    Attributes:
      name: as on the command line.
      pattern: matches the stem of a file name; group `emotion` is looked up in `labels`,
        `speaker` is the speaker, `recording` what all files of one recording share.
      labels: code in the file name -> canonical label.
      attributes: further facts of a match (sex, intensity, ...).
      left_out: says why a match is left out on purpose, or "".
      preference: lower is kept when several files hold one recording; None keeps all of them.
      synthetic: made by a program; said wherever the corpus shows.
    """

    name: str
    pattern: re.Pattern[str]
    labels: Mapping[str, str]
    example: str
    citation: str
    licence: str
    attributes: Callable[[re.Match[str]], dict[str, str]] = lambda match: {}
    left_out: Callable[[re.Match[str]], str] = lambda match: ""
    preference: Callable[[re.Match[str]], int] | None = None
    synthetic: bool = False

    def inventory(self, source: Path) -> Inventory:
        """Reads the names below `source`; opens no file.

        Raises:
          UserError: the folder is missing, or holds no media file.
        """
        clips: list[tuple[int, Clip]] = []
        rejected: list[Rejection] = []
        left_out: Counter[str] = Counter()
        for path in media_files(source):
            name = printable(path.relative_to(source).as_posix())
            match = self.pattern.fullmatch(path.stem)
            if match is None or match["emotion"] not in self.labels:
                reason = f"not a {self.name} file name; expected one like {self.example}"
                rejected.append(Rejection(name, reason))
                continue
            if reason := self.left_out(match):
                left_out[reason] += 1
                continue
            clip = Clip(
                path=path,
                name=name,
                corpus=self.name,
                label=self.labels[match["emotion"]],
                speaker=f"{self.name}/{match['speaker']}",
                recording=f"{self.name}/{match['recording']}",
                attributes=self.attributes(match),
            )
            clips.append((self.preference(match) if self.preference else 0, clip))
        kept = self._one_file_a_recording(clips, left_out)
        return Inventory(tuple(sorted(kept, key=lambda clip: clip.key)), tuple(rejected), left_out)

    def _one_file_a_recording(
        self, clips: list[tuple[int, Clip]], left_out: Counter[str]
    ) -> list[Clip]:
        if self.preference is None:
            return [clip for _, clip in clips]
        best: dict[str, tuple[int, str]] = {}
        for rank, clip in clips:
            best[clip.recording] = min(best.get(clip.recording, (rank, clip.key)), (rank, clip.key))
        kept = [clip for rank, clip in clips if best[clip.recording] == (rank, clip.key)]
        if len(kept) < len(clips):
            left_out["another file of the same recording is used"] += len(clips) - len(kept)
        return kept


def printable(name: str) -> str:
    """A file name that can be written as UTF-8, whatever bytes the disk holds."""
    return name.encode("utf-8", "backslashreplace").decode()


def media_files(source: Path) -> list[Path]:
    """All media files below a folder, sorted by path, hidden ones left out.

    Raises:
      UserError: the folder is missing, unreadable, or holds no media file.
    """
    if not source.exists():
        raise UserError(f"{source}: no such folder; give the folder that holds the recordings")
    if not source.is_dir():
        raise UserError(f"{source}: not a folder; give the folder that holds the recordings")
    try:
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
    except OSError as error:
        raise from_os_error(error, source) from error
    found = [path for path in found if not path.name.startswith(".") and path.is_file()]
    if not found:
        kinds = " ".join(sorted(MEDIA_SUFFIXES))
        raise UserError(f"{source}: no media file in this folder (looked for {kinds})")
    return found


# === Table ===

RAVDESS_LABELS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}

# modality-channel-emotion-intensity-statement-repetition-actor; all but the first is the recording
_RAVDESS_PATTERN = re.compile(
    r"(?P<modality>0[123])-"
    r"(?P<recording>(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-"
    r"(?P<statement>0[12])-(?P<repetition>0[12])-(?P<speaker>\d\d))"
)


def _ravdess_attributes(match: re.Match[str]) -> dict[str, str]:
    return {
        "sex": "male" if int(match["speaker"]) % 2 else "female",
        "intensity": {"01": "normal", "02": "strong"}[match["intensity"]],
        "statement": match["statement"],
        "channel": {"01": "speech", "02": "song"}[match["channel"]],
    }


def _without_song(match: re.Match[str]) -> str:
    return "song (corpus ravdess_song takes it in)" if match["channel"] == "02" else ""


def _modality_rank(match: re.Match[str]) -> int:
    return {"01": 0, "03": 1, "02": 2}[match["modality"]]


RAVDESS = FilenameCorpus(
    name="ravdess",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="03-01-05-02-01-01-12.wav",
    citation="Livingstone & Russo 2018, PLoS ONE 13(5) e0196391",
    licence="CC BY-NC-SA 4.0",
    attributes=_ravdess_attributes,
    left_out=_without_song,
    preference=_modality_rank,
)

RAVDESS_SONG = FilenameCorpus(
    name="ravdess",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="03-02-05-02-01-01-12.wav",
    citation=RAVDESS.citation,
    licence=RAVDESS.licence,
    attributes=_ravdess_attributes,
    preference=_modality_rank,
)

SAMPLE = FilenameCorpus(
    name="sample",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="01-01-05-01-01-01-03.mp4",
    citation="made by `python cli.py synthesize`; SYNTHETIC, supports no claim of accuracy",
    licence="CC0 1.0",
    attributes=_ravdess_attributes,
    preference=_modality_rank,
    synthetic=True,
)
