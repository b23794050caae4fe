"""Splits records into train, validation and test; by speaker if known, and deterministic."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from affectstream.core.errors import UserError, pluralize
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.dataset.data_folder import ClipRow, Splits

# One speaker in six is for testing and one in six for validation, as in the RAVDESS two-stream
# system (4 and 4 of 24; docs/reproduced_systems.md).
HELD_OUT_DIVISOR = 6
# Without speakers: percentage of the recordings for each of test and validation.
HELD_OUT_PERCENT = 10
# With at least this number of sessions (dialogues of two speakers), whole sessions are held out.
MIN_SESSIONS = 3
NOT_DISJOINT = "validation not speaker-disjoint"
ONE_SPEAKER = "one speaker: nothing can be held out"
NO_SPEAKERS = "speakers unknown: split by recording"
NOT_BY_SPEAKER = "some speakers are in sessions of several parts: not speaker-disjoint"

DEFAULT_RULE: dict[str, Any] = {"kind": "default"}
ADAPTATION_RULE: dict[str, Any] = {"kind": "one-validates"}


def make_splits(rows: Sequence[ClipRow], rule: dict[str, Any]) -> Splits:
    """Splits the usable records by `rule`; the result depends only on their content.

    Augmented copies are not counted: they follow their clip into the training split, and are in no
    other split.

    Args:
      rule: {"kind": "default"}; {"kind": "speakers", "test": [...], "validation": [...]}, or
        "sessions" in the same way; {"kind": "folds", "num_folds": K, "fold": N} with N from 1, and
        "by": "session" to divide sessions instead of speakers; or {"kind": "one-validates"}: one
        recording of each speaker and class is for validation, all others are for training and none
        for testing, to adapt a model to these people.
    Raises:
      UserError: a speaker or session that is unknown or on two sides, more folds than speakers, no
        known session, or no two recordings of a speaker and class.
    """
    usable = [row for row in rows if not row.excluded]
    return add_augmented_copies(usable, _divide([row for row in usable if not row.copy_of], rule))


def add_augmented_copies(rows: Sequence[ClipRow], splits: Splits) -> Splits:
    """Adds the augmented copies of training clips to the training split.

    Args:
      rows: usable records in the order of `clips.csv`, including copies.
      splits: splits of the original clips.
    Returns:
      `splits` itself if no row is a copy. Copies of held-out clips are in no split.
    """
    copies = [row for row in rows if row.copy_of]
    if not copies:
        return splits

    def joined(parts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        train = set(parts["train"])
        return {
            **parts,
            "train": tuple(row.id for row in rows if (row.copy_of or row.id) in train),
        }

    train = set(splits.parts["train"])
    idle = sum(row.copy_of not in train for row in copies)
    bare = len(train - {row.copy_of for row in copies})
    notes = [*splits.notes]
    notes += [f"copies of held-out clips left out: {idle}"] if idle else []
    notes += [f"training clips without copies: {bare}"] if bare else []
    return Splits(joined(splits.parts), splits.rule, tuple(notes), tuple(map(joined, splits.folds)))


_DIGITS = frozenset("0123456789")
# A speaker number; its length is limited, because Python refuses to parse very long integers.
_NUMBER = "[0-9]{1,18}"


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "actor 2" before "actor 10"; a number may have any length."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple(
        (0, len(part.lstrip("0")), part.lstrip("0")) if part[0] in _DIGITS else (1, 0, part)
        for part in parts
    )


def speakers_of(rows: Iterable[ClipRow]) -> list[str]:
    """The known speakers in natural order."""
    return sorted({row.speaker for row in rows if row.speaker}, key=natural_key)


def sessions_of(rows: Iterable[ClipRow]) -> list[str]:
    """The known sessions in natural order; both speakers of a dialogue are in one session."""
    return sorted({name for row in rows if (name := _session(row))}, key=natural_key)


# === Rules ===


def _divide(usable: list[ClipRow], rule: dict[str, Any]) -> Splits:
    if rule["kind"] in ("speakers", "sessions"):
        return _by_name(usable, rule)
    if rule["kind"] == "folds":
        return _by_folds(usable, rule)
    if rule["kind"] == ADAPTATION_RULE["kind"]:
        return _by_recordings(usable, rule)
    if any(row.split for row in usable):
        return _official(usable, rule)
    return _by_default(usable, rule)


def _by_default(rows: list[ClipRow], rule: dict[str, Any]) -> Splits:
    sessions = sessions_of(rows)
    if len(sessions) >= MIN_SESSIONS and all(_session(row) for row in rows):
        held = _num_held_out(sessions)
        testers, validators = set(sessions[-held:]), set(sessions[-2 * held : -held])
        return _by_sets(rows, rule, testers, validators, _session)
    speakers = speakers_of(rows)
    if not speakers:
        test, rest = _cut(rows, "test")
        validation, train = _cut(rest, "validation")
        return _splits(rows, rule, train, validation, test, (NO_SPEAKERS,))
    if len(speakers) == 1:
        return _splits(rows, rule, [], [], [], (ONE_SPEAKER,))
    count = _num_held_out(speakers)
    if len(speakers) == 2:
        test = [row for row in rows if row.speaker == speakers[1]]
        rest = [row for row in rows if row.speaker != speakers[1]]
        validation, train = _cut(rest, "validation")
        return _splits(rows, rule, train, validation, test, (NOT_DISJOINT,))
    testers, validators = set(speakers[-count:]), set(speakers[-2 * count : -count])
    return _by_sets(rows, rule, testers, validators, _speaker)


def _official(rows: list[ClipRow], rule: dict[str, Any]) -> Splits:
    test = [row for row in rows if row.split == "test"]
    validation = [row for row in rows if row.split == "validation"]
    train = [row for row in rows if row.split in ("train", "")]
    notes: list[str] = []
    if not validation:
        speakers = speakers_of(train)
        if len(speakers) >= 2:
            chosen = set(speakers[-_num_held_out(speakers) :])
            validation = [row for row in train if row.speaker in chosen]
            train = [row for row in train if row.speaker not in chosen]
        else:
            validation, train = _cut(train, "validation")
            notes.append(NOT_DISJOINT if speakers else NO_SPEAKERS)
    return _splits(rows, rule, train, validation, test, tuple(notes))


def _by_name(rows: list[ClipRow], rule: dict[str, Any]) -> Splits:
    what = rule["kind"].removesuffix("s")
    by_session = what == "session"
    known = _require_sessions(rows) if by_session else speakers_of(rows)
    test = {group for word in rule["test"] for group in _named(word, known, what)}
    validation = {group for word in rule["validation"] for group in _named(word, known, what)}
    if both := sorted(test & validation):
        raise UserError(f"{what} {', '.join(both)} both validates and tests; name each once")
    if test | validation == set(known):
        raise UserError(f"no {what} is left to train on; hold out fewer")
    return _by_sets(rows, rule, test, validation, _session if by_session else _speaker)


def _by_recordings(rows: list[ClipRow], rule: dict[str, Any]) -> Splits:
    recordings: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        recordings.setdefault((row.speaker, row.label), set()).add(row.recording)
    last = {max(names, key=natural_key) for names in recordings.values() if len(names) > 1}
    if not last:
        raise UserError(
            "no speaker has two recordings of one class, so none can validate; add some"
        )
    validation = [row for row in rows if row.recording in last]
    train = [row for row in rows if row.recording not in last]
    return _splits(rows, rule, train, validation, [], (NOT_DISJOINT,))


def _by_folds(rows: list[ClipRow], rule: dict[str, Any]) -> Splits:
    count, fold = rule["num_folds"], rule["fold"]
    group_of, groups, notes = _groups(rows, rule)
    if not 3 <= count <= len(groups):
        what = "sessions" if rule.get("by") == "session" else "speakers or recordings"
        raise UserError(f"--folds {count}: must be 3 to {len(groups)} ({what})")
    if not 1 <= fold <= count:
        raise UserError(f"--fold {fold}: must be 1 to {count}")
    bounds = [round(i * len(groups) / count) for i in range(count + 1)]
    blocks = [set(groups[a:b]) for a, b in itertools.pairwise(bounds)]
    folds = []
    for index in range(count):
        test, validation = blocks[index], blocks[(index + 1) % count]
        parts: dict[str, list[str]] = {split: [] for split in SPLITS}
        for row in rows:
            parts[_side(group_of(row), test, validation)].append(row.id)
        folds.append({split: tuple(ids) for split, ids in parts.items()})
    return Splits(folds[fold - 1], rule, notes, tuple(folds))


def _groups(
    rows: list[ClipRow], rule: dict[str, Any]
) -> tuple[Callable[[ClipRow], str], list[str], tuple[str, ...]]:
    """Groups for cross-validation: a function from row to group, all groups in order, and notes."""
    if rule.get("by") == "session":
        known = _require_sessions(rows)
        homes = {(row.speaker, _session(row)) for row in rows if row.speaker}
        disjoint = len(homes) == len({speaker for speaker, _ in homes})
        return _session, known, () if disjoint else (NOT_BY_SPEAKER,)
    speakers = speakers_of(rows)
    if speakers and len(speakers) < len({row.speaker for row in rows}):
        raise UserError("some records have no speaker; folds need a speaker for each or for none")
    if speakers:
        return _speaker, speakers, ()
    recordings = sorted({row.recording for row in rows}, key=_stable_number)
    return (lambda row: row.recording), recordings, (NO_SPEAKERS,)


# === Pieces ===


def _speaker(row: ClipRow) -> str:
    return row.speaker


def _session(row: ClipRow) -> str:
    return row.attributes.get("session", "")


def _require_sessions(rows: list[ClipRow]) -> list[str]:
    known = sessions_of(rows)
    if not known:
        raise UserError("no record has a session (as those of iemocap have); split by speaker")
    if missing := sum(not _session(row) for row in rows):
        verb = "has" if missing == 1 else "have"
        raise UserError(f"{pluralize(missing, 'record')} {verb} no session; split by speaker")
    return known


def _side(group: str, test: set[str], validation: set[str]) -> str:
    return "test" if group in test else "validation" if group in validation else "train"


def _by_sets(
    rows: list[ClipRow],
    rule: dict[str, Any],
    test: set[str],
    validation: set[str],
    group_of: Callable[[ClipRow], str],
) -> Splits:
    sides: dict[str, list[ClipRow]] = {split: [] for split in SPLITS}
    for row in rows:
        sides[_side(group_of(row), test, validation)].append(row)
    speakers = [set(speakers_of(members)) for members in sides.values()]
    disjoint = sum(map(len, speakers)) == len(set().union(*speakers))
    notes = () if disjoint else (NOT_BY_SPEAKER,)
    return _splits(rows, rule, sides["train"], sides["validation"], sides["test"], notes)


def _splits(
    rows: list[ClipRow],
    rule: dict[str, Any],
    train: list[ClipRow],
    validation: list[ClipRow],
    test: list[ClipRow],
    notes: tuple[str, ...],
) -> Splits:
    sides = {"train": train, "validation": validation, "test": test}
    parts = {}
    for split, members in sides.items():
        ids = {row.id for row in members}
        parts[split] = tuple(row.id for row in rows if row.id in ids)
    return Splits(parts, rule, notes)


def _num_held_out(speakers: list[str]) -> int:
    return math.ceil(len(speakers) / HELD_OUT_DIVISOR)


def _cut(rows: list[ClipRow], purpose: str) -> tuple[list[ClipRow], list[ClipRow]]:
    """(held-out rows, rest), split by recording, so that its segments stay together."""
    recordings = sorted({row.recording for row in rows}, key=lambda r: _stable_number(purpose + r))
    count = max(1, len(recordings) * HELD_OUT_PERCENT // 100) if len(recordings) > 1 else 0
    chosen = set(recordings[:count])
    cut = [row for row in rows if row.recording in chosen]
    return cut, [row for row in rows if row.recording not in chosen]


def _stable_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _named(word: str, known: list[str], what: str = "speaker") -> list[str]:
    """Speakers matched by `ravdess/07`, `07`, `7` or a range `21-24`; sessions likewise."""
    if bounds := re.fullmatch(rf"({_NUMBER})-({_NUMBER})", word):
        numbers = range(int(bounds[1]), int(bounds[2]) + 1)
        speakers = [speaker for speaker in known if _number(speaker) in numbers]
    else:
        speakers = [
            speaker
            for speaker in known
            if word in (speaker, speaker.partition("/")[2])
            or (re.fullmatch(_NUMBER, word) and _number(speaker) == int(word))
        ]
    if not speakers:
        raise UserError(f"no {what} {word!r} in the data; there are {', '.join(known) or 'none'}")
    return speakers


def _number(speaker: str) -> int | None:
    digits = re.search(rf"(?<![0-9])({_NUMBER})$", speaker)
    return int(digits[1]) if digits else None


def parse_speakers(text: str) -> list[str]:
    """Splits `"21-24,ravdess/07"` into words; `"none"` into none."""
    return [] if text == "none" else [word.strip() for word in text.split(",") if word.strip()]
