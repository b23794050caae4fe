"""Reader of corpora whose file names contain all labels; `filename_corpora` defines the corpora."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from affectstream.core.errors import pluralize
from affectstream.preprocessing.clip import Clip, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.corpus_mismatch import corpus_mismatch_error
from affectstream.preprocessing.corpora.media_files import list_media, printable
from affectstream.preprocessing.file_kinds import suffix_rank

SAME_RECORDING = "another file of the same recording is used"

Match = re.Match[str]


@dataclass(frozen=True, kw_only=True)
class FilenameCorpus(Corpus):
    """A corpus defined by its file names, at any folder depth.

    Attributes:
      pattern: matches the stem of a file name, or "folder/stem"; its group `emotion` is a key of
        `labels`.
      labels: code in the file name -> canonical label.
      example: a valid file name, for messages.
      speaker: speaker of a match.
      recording: id shared by all files of one recording, from a match.
      attributes: further metadata of a match (sex, intensity, ...).
      transcript: transcript of a match; "" if the name does not determine it.
      no_label: code -> the corpus's emotion without a canonical label.
      skip_reason: reason why a match is excluded on purpose, or "".
      known_bad: lower-case file name -> known defect of that file.
      preference: rank of a match and its suffix; the lowest is kept if files share a recording.
    """

    pattern: re.Pattern[str]
    labels: Mapping[str, str]
    example: str
    speaker: Callable[[Match], str] = lambda match: match["speaker"]
    recording: Callable[[Match], str] = lambda match: match["recording"]
    attributes: Callable[[Match], dict[str, str]] = lambda match: {}
    transcript: Callable[[Match], str] = lambda match: ""
    no_label: Mapping[str, str] = field(default_factory=dict)
    skip_reason: Callable[[Match], str] = lambda match: ""
    known_bad: Mapping[str, str] = field(default_factory=dict)
    preference: Callable[[Match, str], int] = lambda match, suffix: suffix_rank(suffix)

    @property
    def recording_pattern(self) -> re.Pattern[str] | None:
        return self.pattern if "recording" in self.pattern.groupindex else None

    def matches_file(self, path: Path) -> bool:
        """Whether a file name follows the corpus's naming."""
        return self._match(path) is not None

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads the names below `source`; opens no file.

        Raises:
          UserError: the folder is missing, has no media file, or none with the corpus's naming.
        """
        ranked: list[tuple[int, Clip]] = []
        listing, paths = list_media(source)
        rejected = [*listing.rejected]
        skipped: Counter[str] = Counter()
        matches = [(path, self._match(path)) for path in paths]
        if not any(match for _, match in matches):
            first = printable(paths[0].name)
            what = (
                f"none of {pluralize(len(paths), 'media file')} is one of {self.name}; first: not a"
                f" {self.name} file name; expected one like {self.example}, found {first}"
            )
            raise corpus_mismatch_error(source, what, paths)
        for path, match in matches:
            name = listing.display_path(path)
            if match is None:
                reason = f"not a {self.name} file name; expected one like {self.example}"
                rejected.append(Rejection(name, reason))
            elif fault := self.known_bad.get(path.name.lower()):
                reason = f"a file of {self.name} known to be bad ({fault}); nothing to mend"
                rejected.append(Rejection(name, reason))
            elif reason := self._skip_reason(match):
                skipped[reason] += 1
            else:
                ranked.append((self.preference(match, path.suffix), self._clip(path, name, match)))
        kept = one_file_a_recording(ranked, skipped)
        return CorpusIndex.of(kept, rejected, skipped, listing.ignored_suffixes(paths))

    def _match(self, path: Path) -> Match | None:
        match = self.pattern.fullmatch(path.stem)
        match = match or self.pattern.fullmatch(f"{path.parent.name}/{path.stem}")
        if match and match["emotion"] not in self.labels and match["emotion"] not in self.no_label:
            return None
        return match

    def _skip_reason(self, match: Match) -> str:
        emotion = self.no_label.get(match["emotion"])
        return f"{emotion}: no such label here" if emotion else self.skip_reason(match)

    def _clip(self, path: Path, name: str, match: Match) -> Clip:
        return Clip(
            path=path,
            name=name,
            corpus=self.name,
            label=self.labels[match["emotion"]],
            speaker=f"{self.name}/{self.speaker(match)}",
            recording=f"{self.name}/{self.recording(match)}",
            transcript=self.transcript(match),
            attributes=self.attributes(match),
        )


def one_file_a_recording(ranked: list[tuple[int, Clip]], skipped: Counter[str]) -> list[Clip]:
    """Keeps the clip of lowest rank, then key, for each recording; counts the others.

    The others are stored in it, and are read if its file cannot be.
    """
    ordered = sorted(ranked, key=lambda item: (item[0], item[1].key))
    groups: dict[str, list[Clip]] = {}
    for _, clip in ordered:
        groups.setdefault(clip.recording, []).append(clip)
    if len(groups) < len(ranked):
        skipped[SAME_RECORDING] += len(ranked) - len(groups)
    return [replace(first, others=tuple(others)) for first, *others in groups.values()]
