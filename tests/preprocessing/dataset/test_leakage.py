"""Nothing may be learnt from what is tested."""

from __future__ import annotations

import json

import pytest

from affectstream.core.errors import UserError
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps, require_disjoint
from tests.support.factories import row

LEARNT = DataFootprint.of(
    [
        row("r/1", speaker="r/01", recording="r/rec1", audio_hash="s1", video_hash="v1"),
        row("r/2", speaker="", recording="r/rec2", audio_hash="", video_hash="v2"),
    ]
)


def test_what_was_seen() -> None:
    assert LEARNT.speakers == {"r/01"}
    assert LEARNT.recordings == {"r/rec1", "r/rec2"}
    assert LEARNT.hashes == {"s1", "v1", "v2"}
    assert DataFootprint.from_json(json.loads(json.dumps(LEARNT.as_json()))) == LEARNT
    more = DataFootprint.of([row("q/1", speaker="q/9", recording="q/1", audio_hash="s9")])
    assert (LEARNT | more).speakers == {"r/01", "q/9"}
    assert (LEARNT | more).hashes == {"s1", "v1", "v2", "s9"}


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (row("t", speaker="r/02", recording="r/rec9", audio_hash="s9"), []),
        (row("t", speaker="q/01", recording="q/rec1", audio_hash="s9"), []),
        (row("t", speaker="", recording="r/rec9", audio_hash="", video_hash=""), []),
        (row("t", speaker="r/01", recording="r/rec9", audio_hash="s9"), ["speaker r/01"]),
        (row("t", speaker="r/02", recording="r/rec1", audio_hash="s9"), ["recording r/rec1"]),
        (row("t", speaker="r/02", recording="r/rec9", audio_hash="s1"), ["the content of t"]),
        (
            row("t", speaker="", recording="r/x", audio_hash="", video_hash="v2"),
            ["the content of t"],
        ),
    ],
)
def test_a_crossing_by_speaker_recording_or_content(held, found) -> None:
    assert overlaps(LEARNT, [row("fine", speaker="z/1", recording="z/1"), held]) == found


def test_one_recording_as_sound_and_as_video_is_one() -> None:
    both = [row("sound", recording="r/x"), row("video", recording="r/x", audio_hash="other")]
    assert overlaps(DataFootprint.of(both[:1]), both[1:], compare_speakers=False) == [
        "recording r/x"
    ]


def test_speakers_are_not_compared_where_the_split_is_stamped() -> None:
    held = [row("t", speaker="r/01", recording="r/rec9", audio_hash="s1")]
    assert overlaps(LEARNT, held, compare_speakers=False) == ["the content of t"]
    assert len(overlaps(LEARNT, held)) == 2


def test_many_are_counted() -> None:
    rows = [row(f"t{n}", speaker=f"s{n}") for n in range(7)]
    found = overlaps(DataFootprint.of(rows), rows)
    assert found[0] == "speaker s0, s1, s2 and 4 more"
    assert len(found) == 3


def test_a_leak_stops_unless_it_is_allowed() -> None:
    assert require_disjoint([], "train, test", allow_leak=False) is False
    assert require_disjoint([], "train, test", allow_leak=True) is False
    assert require_disjoint(["speaker r/01"], "train, test", allow_leak=True) is True
    with pytest.raises(UserError, match=r"leak: speaker r/01; recording x on both sides \(train"):
        require_disjoint(["speaker r/01", "recording x"], "train, test", allow_leak=False)
