"""Duplicate records: keeps one of each, and never one on both sides of an official split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from affectstream.preprocessing.dataset.data_folder import ClipRow

NO_CONTENT = "no audio, face or text"
# Later splits win: a training copy of a validation item is excluded, and a validation copy of a
# test item.
_RANK = {"": 0, "train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class DuplicateReport:
    """Report of `preprocess` about equal content.

    Attributes:
      groups: ids of records with equal decoded audio and video.
      counts: number of excluded records by reason.
      num_kept_in_test: duplicates within the official test split, which are kept.
    """

    groups: tuple[tuple[str, ...], ...]
    counts: Counter[str]
    num_kept_in_test: int


def mark_duplicates(
    rows: Sequence[ClipRow], official_split: bool
) -> tuple[tuple[ClipRow, ...], DuplicateReport]:
    """Sets `excluded` on records that duplicate the content of another record.

    Args:
      rows: in the order of `clips.csv`; their `excluded` is reset.
      official_split: whether the corpus publishes its split. If so, training copies of held-out
        items are excluded, and test items never are. If not, the first of equal records in one
        split is kept; `train` stops on copies across the splits of a user's own table.
    """
    groups: dict[tuple[str, ...], list[ClipRow]] = defaultdict(list)
    for row in rows:
        content = (row.audio_hash, row.video_hash, row.text_hash)
        if any(content):
            groups[content].append(row)
    equal = [group for group in groups.values() if len(group) > 1]
    reasons = {row.id: NO_CONTENT for row in rows if not row.streams}
    num_kept_in_test = 0
    for group in equal:
        reasons |= _across_parts(group) if official_split else {}
        for part in ("", "train", "validation", "test"):
            members = [row for row in group if row.split == part and row.id not in reasons]
            if official_split and part == "test":
                num_kept_in_test += max(len(members) - 1, 0)
            elif len(members) > 1:
                reasons |= _within_part(members)
    counts = Counter(reason.partition(":")[0] for reason in reasons.values())
    marked = tuple(_excluded(row, reasons.get(row.id, "")) for row in rows)
    names = tuple(tuple(row.id for row in group) for group in equal)
    return marked, DuplicateReport(names, counts, num_kept_in_test)


def _excluded(row: ClipRow, reason: str) -> ClipRow:
    return row if row.excluded == reason else replace(row, excluded=reason)


def _across_parts(group: list[ClipRow]) -> dict[str, str]:
    held_out = max(group, key=lambda row: _RANK[row.split])
    lower = [row for row in group if _RANK[row.split] < _RANK[held_out.split]]
    return {row.id: f"equals a {held_out.split} item: {held_out.id}" for row in lower}


def _within_part(members: list[ClipRow]) -> dict[str, str]:
    if len({row.label for row in members}) > 1:
        return {row.id: "equal content, conflicting labels" for row in members}
    return {row.id: f"same content under another name: {members[0].id}" for row in members[1:]}
