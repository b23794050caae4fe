"""Equal content under several names."""

from __future__ import annotations

from affectstream.preprocessing.content_hash import TEXT_HASH
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.dataset.duplicates import mark_duplicates
from tests.support.factories import row


def item(name: str, content: str, split: str = "", label: str = "happy") -> ClipRow:
    return row(name, audio_hash=content, split=split, label=label)


def excluded(rows: tuple[ClipRow, ...]) -> dict[str, str]:
    return {one.id: one.excluded for one in rows if one.excluded}


def test_rows_without_equals_stay_as_they_are() -> None:
    rows = [item("a", "1"), item("b", "2")]
    marked, report = mark_duplicates(rows, official_split=False)
    assert list(marked) == rows
    assert (report.groups, report.counts, report.num_kept_in_test) == ((), {}, 0)


def test_two_names_for_one_recording_are_kept_once() -> None:
    rows = [item("a", "1"), item("b", "2"), item("c", "1"), item("d", "1")]
    marked, report = mark_duplicates(rows, official_split=False)
    assert excluded(marked) == {
        "c": "same content under another name: a",
        "d": "same content under another name: a",
    }
    assert report.groups == (("a", "c", "d"),)
    assert report.counts == {"same content under another name": 2}


def test_equal_content_under_two_labels_is_left_out_wholly() -> None:
    rows = [item("a", "1", label="sad"), item("b", "1"), item("c", "2")]
    marked, _ = mark_duplicates(rows, official_split=False)
    assert excluded(marked) == dict.fromkeys("ab", "equal content, conflicting labels")


def test_sound_and_picture_together_are_the_content() -> None:
    rows = [
        row("a", audio_hash="1", video_hash="x"),
        row("b", audio_hash="1", video_hash="y"),
        row("c", audio_hash="1", video_hash=""),
    ]
    marked, report = mark_duplicates(rows, official_split=False)
    assert not excluded(marked)
    assert not report.groups


def test_no_content_is_not_equal_content() -> None:
    rows = [row(name, audio_hash="", video_hash="") for name in "ab"]
    assert not excluded(mark_duplicates(rows, official_split=False)[0])


def test_training_copies_of_held_out_items_go_and_test_items_never_do() -> None:
    rows = [
        item("train a", "1", "train"),
        item("train b", "1", "train", label="sad"),
        item("validation a", "1", "validation"),
        item("test a", "1", "test"),
        item("test b", "1", "test", label="sad"),
        item("train c", "2", "train"),
        item("validation c", "2", "validation"),
    ]
    marked, report = mark_duplicates(rows, official_split=True)
    assert excluded(marked) == {
        "train a": "equals a test item: test a",
        "train b": "equals a test item: test a",
        "validation a": "equals a test item: test a",
        "train c": "equals a validation item: validation c",
    }
    assert report.counts == {"equals a test item": 3, "equals a validation item": 1}
    assert report.num_kept_in_test == 1


def test_copies_over_a_split_of_ones_own_are_left_for_train_to_stop_on() -> None:
    rows = [item("a", "1", "train"), item("b", "1", "test"), item("c", "1", "train")]
    marked, report = mark_duplicates(rows, official_split=False)
    assert excluded(marked) == {"c": "same content under another name: a"}
    assert report.groups == (("a", "b", "c"),)


def test_marking_again_begins_anew() -> None:
    rows = [item("a", "1"), item("b", "1")]
    marked, _ = mark_duplicates(rows, official_split=False)
    assert mark_duplicates(marked, official_split=False)[0] == marked
    assert not excluded(mark_duplicates(marked[1:], official_split=False)[0])


def text(name: str, content: str, split: str = "", label: str = "happy") -> ClipRow:
    """A record of text alone; `content` "" for speech, whose words are no content of their own."""
    attributes = {TEXT_HASH: content} if content else {}
    told = {"split": split, "label": label, "transcript": "words", "attributes": attributes}
    return row(name, num_samples=0, audio_hash="", **told)


def test_training_copies_of_held_out_texts_go() -> None:
    rows = [
        text("train a", "1", "train"),
        text("train b", "2", "train"),
        text("train c", "2", "train"),
        text("train d", "3", "train", label="sad"),
        text("train e", "3", "train"),
        text("validation a", "1", "validation"),
    ]
    marked, report = mark_duplicates(rows, official_split=True)
    assert excluded(marked) == {
        "train a": "equals a validation item: validation a",
        "train c": "same content under another name: train b",
        "train d": "equal content, conflicting labels",
        "train e": "equal content, conflicting labels",
    }
    assert report.num_kept_in_test == 0


def test_equal_words_of_speech_are_no_copies() -> None:
    rows = [text("a", "", "train"), text("b", "", "train"), text("c", "", "test")]
    assert not excluded(mark_duplicates(rows, official_split=True)[0])
