"""IEMOCAP: turns of acted dialogues, read from the evaluation files of the official release."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from affectstream.core import storage_paths
from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import Clip, CompanionVideo, CorpusIndex, Rejection
from affectstream.preprocessing.corpora.corpus import Corpus
from affectstream.preprocessing.corpora.corpus_mismatch import corpus_mismatch_error
from affectstream.preprocessing.corpora.iemocap_files import (
    EVALUATIONS,
    LABELS,
    NO_LABEL,
    TRANSCRIPTIONS,
    TURN_PATTERN,
    Turn,
    read_evaluation,
    read_transcription,
    sessions_below,
    text_files,
)
from affectstream.preprocessing.corpora.media_files import find_media, printable

HOW_TO_OBTAIN = (
    "its authors give the release to who signs their licence, https://sail.usc.edu/iemocap/"
)
_SEXES = {"F": "female", "M": "male"}
_ACTING = {"impro": "improvised", "script": "scripted"}


@dataclass(frozen=True, kw_only=True)
class IemocapCorpus(Corpus):
    """IEMOCAP in its release layout: one clip per turn with a consensus of the evaluators.

    Attributes:
      improvised_only: skips the scripted dialogues. All sessions use the same three scripts, so a
        text model could memorise them.
    """

    improvised_only: bool = False

    @property
    def options(self) -> dict[str, bool]:
        return {"improvised_only": True} if self.improvised_only else {}

    def without_scripts(self) -> IemocapCorpus:
        return replace(self, improvised_only=True)

    def matches_file(self, path: Path) -> bool:
        """Whether a file name is that of a turn's audio in the release."""
        return TURN_PATTERN.fullmatch(path.stem) is not None

    def build_index(self, source: Path) -> CorpusIndex:
        """Reads evaluations and transcriptions; opens no audio or video.

        Args:
          source: the release's root folder, or one of its Session folders.
        Raises:
          UserError: absent, or without an IEMOCAP session.
        """
        if not source.is_dir():
            raise UserError(f"{source}: no such folder; {HOW_TO_OBTAIN}")
        rejected: list[Rejection] = []
        evaluations = [
            (session, path)
            for session in sessions_below(source, rejected)
            for path in text_files(session / EVALUATIONS)
        ]
        if not evaluations:
            looked_for = "Session1/dialog/EmoEvaluation/*.txt"
            what = f"no session of IEMOCAP in it (looked for {looked_for}; {HOW_TO_OBTAIN})"
            raise corpus_mismatch_error(source, what, find_media(source), rejected)
        clips: dict[str, Clip] = {}
        skipped: Counter[str] = Counter()
        for session, path in evaluations:
            try:
                self._dialogue(session, path, clips, rejected, skipped)
            except OSError as error:  # one of its folders cannot be entered
                reason = str(from_os_error(error, path))
                rejected.append(Rejection(_shown(session, path), reason))
        return CorpusIndex.of(clips.values(), rejected, skipped)

    def _dialogue(
        self,
        session: Path,
        path: Path,
        clips: dict[str, Clip],
        rejected: list[Rejection],
        skipped: Counter[str],
    ) -> None:
        """Adds the turns of one evaluation file."""
        shown = _shown(session, path)
        try:
            turns, faults = read_evaluation(path, shown)
            said = _said(session, path.name, rejected, skipped)
        except UserError as error:
            rejected.append(Rejection(shown, str(error)))
            return
        rejected += faults
        for turn in turns:
            acting = _ACTING[_part(turn.name, "acting")]
            if self.improvised_only and acting == "scripted":
                skipped["scripted dialogues (improvised only)"] += 1
            elif turn.emotion in NO_LABEL:
                skipped[NO_LABEL[turn.emotion]] += 1
            elif turn.name in clips:
                reason = f"{turn.name} is in the evaluations already; keep one of its lines"
                rejected.append(Rejection(f"{shown}:{turn.line}", reason))
            elif not (wav := _wav(session, turn)).is_file():
                reason = f"no {_shown(session, wav)}; unpack sentences/wav of the release"
                rejected.append(Rejection(f"{shown}:{turn.line}", reason))
            else:
                clips[turn.name] = self._clip(session, wav, turn, said.get(turn.name, ""))

    def _clip(self, session: Path, wav: Path, turn: Turn, transcript: str) -> Clip:
        number, marked = _part(turn.name, "session"), _part(turn.name, "marked")
        sex = _part(turn.name, "sex")
        attributes = {
            "session": str(int(number)),
            "dialogue": _part(turn.name, "dialogue"),
            "dialogue_start_s": f"{turn.start_s:g}",
            "dialogue_end_s": f"{turn.end_s:g}",
            "acting": _ACTING[_part(turn.name, "acting")],
            "sex": _SEXES[sex],
            "valence": f"{turn.valence:g}",
            "arousal": f"{turn.arousal:g}",
            "dominance": f"{turn.dominance:g}",
        }
        if turn.agreement is not None:
            attributes["agreement"] = f"{turn.agreement:.3g}"
        return Clip(
            path=wav,
            name=_shown(session, wav),
            corpus=self.name,
            label=LABELS[turn.emotion],
            speaker=f"{self.name}/Ses{number}{sex}",
            recording=f"{self.name}/{turn.name}",
            transcript=transcript,
            attributes=attributes,
            expected_duration_s=round(turn.end_s - turn.start_s, 4),
            pictures=_pictures(session, turn, "left" if sex == marked else "right"),
        )


def _pictures(session: Path, turn: Turn, half: str) -> CompanionVideo | None:
    """The speaker's half of the dialogue's video, if it exists.

    Source of the sides: according to the release's README, the letter after the session
    (Ses01F_...) names the actor with the markers. Two independent published preparations of the
    release assume that this actor is on the left of the image: AIM3-RUC/MEmoBert,
    preprocess/iemocap/cut_video.sh, and IoannisKansizoglou/Iemocap-preprocess,
    extractionmapCreator.py.
    """
    path = session / "dialog/avi/DivX" / f"{_part(turn.name, 'dialogue')}.avi"
    if not path.is_file():
        return None
    return CompanionVideo(path, _shown(session, path), turn.start_s, turn.end_s, half)


def _said(
    session: Path, name: str, rejected: list[Rejection], skipped: Counter[str]
) -> dict[str, str]:
    """Turn -> transcript; empty if the dialogue has no transcription."""
    path = session / TRANSCRIPTIONS / name
    if not path.is_file():
        return {}
    said, faults, num_unnamed = read_transcription(path, _shown(session, path))
    rejected += faults
    skipped["lines of transcriptions that name no turn"] += num_unnamed
    return said


def _wav(session: Path, turn: Turn) -> Path:
    return session / "sentences/wav" / _part(turn.name, "dialogue") / f"{turn.name}.wav"


def _part(turn: str, group: str) -> str:
    """A component of a turn's name, which `read_evaluation` has checked."""
    match = TURN_PATTERN.fullmatch(turn)
    return match[group] if match else ""


def _shown(session: Path, path: Path) -> str:
    """`Session1/...`, for both kinds of source."""
    return printable(f"{session.resolve().name}/{storage_paths.relative_name(path, session)}")


IEMOCAP = IemocapCorpus(
    name="iemocap",
    citation="Busso et al. 2008, IEMOCAP, Language Resources and Evaluation 42(4)",
    licence="signed licence of the University of Southern California, research use",
)
