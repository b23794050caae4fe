"""Assigns whole speakers to the training, validation and test sets of each fold."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from affectstream.core.errors import UserError, pluralize
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.dataset.data_folder import ClipRow, Splits
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.dataset.splits import add_augmented_copies, natural_key, speakers_of

LOSO = "loso"
# One fold tests, one validates and at least one trains.
MIN_FOLDS = 3


@dataclass(frozen=True)
class Fold:
    """One fold, numbered from 1.

    Attributes:
      test: speakers that are only predicted; each speaker is in one test set.
      validation: speakers used for every choice (epoch, temperature, fusion). They are all or some
        test speakers of the next fold; the last fold uses those of the first.
    """

    number: int
    test: tuple[str, ...]
    validation: tuple[str, ...]


def make_folds(
    rows: Sequence[ClipRow], folds: str, path: Path, num_validation_speakers: int | None = None
) -> tuple[Fold, ...]:
    """Assigns the speakers of `rows` to folds, deterministically.

    Speakers are sorted by sex, then in natural order, and assigned to the folds in turn. The number
    of speakers differs by at most one between folds, also within each sex.

    Args:
      rows: scored clips.
      folds: number of folds, at least 3, or "loso" for one fold per speaker.
      path: path of the data, for messages.
      num_validation_speakers: validation speakers in each fold, taken from the sexes in turn; the
        other speakers of the next fold train. None takes all of the next fold.
    Raises:
      UserError: a clip without a speaker, more folds than speakers, more validation speakers than a
        fold has, or a recording or content shared by two folds or by validation and training
        speakers of one fold.
    """
    if missing := sum(not row.speaker for row in rows):
        raise UserError(
            f"{path}: {missing} of {len(rows)} clips have no speaker; crossval keeps whole speakers"
            " apart and needs one for each (a corpus that names them, or column speaker)"
        )
    speakers = _in_assignment_order(rows)
    count = _num_folds(folds, len(speakers), path)
    speakers_per_fold = [tuple(sorted(speakers[i::count], key=natural_key)) for i in range(count)]
    sexes = sex_of_speakers(rows)
    chosen = [
        _some(fold_speakers, sexes, num_validation_speakers) for fold_speakers in speakers_per_fold
    ]
    _require_apart(rows, speakers_per_fold, chosen, path)
    following = [*chosen[1:], chosen[0]]
    return tuple(
        Fold(number, test, validation)
        for number, (test, validation) in enumerate(
            zip(speakers_per_fold, following, strict=True), start=1
        )
    )


def splits_of_fold(rows: Sequence[ClipRow], fold: Fold, num_folds: int) -> Splits:
    """Splits of one fold for the rows of a data folder; augmented copies train with their clip.

    Speakers without a clip that has a label of the set are not tested in any fold.
    """
    usable = [row for row in rows if not row.excluded]
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    test, validation = set(fold.test), set(fold.validation)
    for row in usable:
        if row.copy_of or not row.speaker:
            continue
        side = "test" if row.speaker in test else "train"
        parts["validation" if row.speaker in validation else side].append(row.id)
    rule = {"kind": "crossval", "num_folds": num_folds, "fold": fold.number}
    rule |= {"test": list(fold.test), "validation": list(fold.validation)}
    return add_augmented_copies(
        usable, Splits({name: tuple(ids) for name, ids in parts.items()}, rule)
    )


def sex_of_speakers(rows: Sequence[ClipRow]) -> dict[str, str]:
    """Sex of each speaker from the corpus metadata; "" if unknown."""
    known: dict[str, str] = {}
    for row in rows:
        known[row.speaker] = known.get(row.speaker) or row.attributes.get("sex", "")
    return known


def _in_assignment_order(rows: Sequence[ClipRow]) -> list[str]:
    sexes = sex_of_speakers(rows)
    return sorted(speakers_of(rows), key=lambda name: (sexes[name], natural_key(name)))


def _some(
    fold_speakers: tuple[str, ...], sexes: dict[str, str], count: int | None
) -> tuple[str, ...]:
    """The first `count` speakers of a fold, taken from the sexes in turn; None takes all."""
    if count is None:
        return fold_speakers
    if count > len(fold_speakers):
        raise UserError(
            f"--validation-speakers {count}: a fold has only {len(fold_speakers)}; take"
            f" {len(fold_speakers)} or less,"
            " or fewer --folds"
        )
    by_sex = [
        [name for name in fold_speakers if sexes[name] == sex]
        for sex in sorted(set(sexes.values()))
    ]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_sex))
    taken = list(itertools.islice((name for name in turns if name is not None), count))
    return tuple(sorted(taken, key=natural_key))


def _num_folds(folds: str, num_speakers: int, path: Path) -> int:
    if num_speakers < MIN_FOLDS:
        raise UserError(
            f"{path}: {pluralize(num_speakers, 'speaker')}; crossval needs {MIN_FOLDS}: one to"
            " train"
            " on, one to choose on, one to test"
        )
    if folds == LOSO:
        return num_speakers
    if not folds.isdecimal() or not MIN_FOLDS <= int(folds) <= num_speakers:
        raise UserError(
            f"--folds {folds}: must be {MIN_FOLDS} to {num_speakers} (the speakers of {path}), or"
            f" {LOSO}"
        )
    return int(folds)


def _require_apart(
    rows: Sequence[ClipRow],
    speakers_per_fold: Sequence[tuple[str, ...]],
    chosen: Sequence[tuple[str, ...]],
    path: Path,
) -> None:
    """No recording or content may occur in two folds, even under different speakers.

    Validation and training speakers of the same fold must not share any either.

    Args:
      chosen: validation speakers of each fold.
    """
    sides: list[tuple[int, set[str]]] = []
    for number, (fold_speakers, some) in enumerate(
        zip(speakers_per_fold, chosen, strict=True), start=1
    ):
        sides += [(number, set(some)), (number, set(fold_speakers) - set(some))]
    side_of = {speaker: side for side, (_, names) in enumerate(sides) for speaker in names}
    members: list[list[ClipRow]] = [[] for _ in sides]
    for row in rows:
        members[side_of[row.speaker]].append(row)
    seen = [DataFootprint.of(own) for own in members]
    for a, b in itertools.combinations(range(len(sides)), 2):
        if found := overlaps(seen[a], members[b]):
            one, other = sides[a][0], sides[b][0]
            where = f"in folds {one} and {other}, under two speakers"
            if one == other:
                where = f"in fold {one}, under a speaker who validates and one who trains"
            raise UserError(
                f"{path}: {'; '.join(found)} {where}; name the speaker alike or leave one out"
                " (`preprocess` again), else the test leaks"
            )
