"""Who trains, validates and tests: never by directory order, never a speaker on two sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectstream import cli
from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import ClipRow, Splits, open_data_folder
from affectstream.preprocessing.dataset.splits import (
    ADAPTATION_RULE,
    DEFAULT_RULE,
    make_splits,
    natural_key,
    parse_speakers,
)
from tests.support.factories import files_below, row


def rows_of(speakers: Sequence[str | int], clips_each: int = 3) -> list[ClipRow]:
    """`clips_each` recordings of each speaker; "" is an unknown one."""
    return [
        row(f"x/{place}-{n}", speaker=f"x/{speaker}" if speaker != "" else "")
        for place, speaker in enumerate(speakers)
        for n in range(clips_each)
    ]


def speakers_in(rows: Sequence[ClipRow], splits: Splits, part: str) -> set[str]:
    return {one.speaker for one in rows if one.id in splits.parts[part]}


def named(test: str, validation: str) -> dict[str, object]:
    return {
        "kind": "speakers",
        "test": parse_speakers(test),
        "validation": parse_speakers(validation),
    }


# === By default ===


def test_one_speaker_in_six_tests_and_one_in_six_validates() -> None:
    rows = rows_of(range(1, 25))
    splits = make_splits(rows, DEFAULT_RULE)
    assert speakers_in(rows, splits, "test") == {f"x/{n}" for n in (21, 22, 23, 24)}
    assert speakers_in(rows, splits, "validation") == {f"x/{n}" for n in (17, 18, 19, 20)}
    assert len(splits.parts["train"]) == 16 * 3
    assert splits.notes == ()


def test_three_speakers_take_one_part_each() -> None:
    rows = rows_of(["a", "b", "c"])
    splits = make_splits(rows, DEFAULT_RULE)
    assert [speakers_in(rows, splits, part) for part in ("train", "validation", "test")] == [
        {"x/a"},
        {"x/b"},
        {"x/c"},
    ]


def test_two_speakers_test_is_one_and_validation_is_stamped() -> None:
    rows = rows_of(["OAF", "YAF"], clips_each=30)
    splits = make_splits(rows, DEFAULT_RULE)
    assert speakers_in(rows, splits, "test") == {"x/YAF"}
    assert (
        speakers_in(rows, splits, "train") == speakers_in(rows, splits, "validation") == {"x/OAF"}
    )
    assert splits.notes == ("validation not speaker-disjoint",)
    assert (len(splits.parts["train"]), len(splits.parts["validation"])) == (27, 3)


def test_two_speakers_validation_is_cut_by_recording() -> None:
    rows = [
        row(f"x/{speaker}{n}#{piece}", speaker=f"x/{speaker}", recording=f"x/{speaker}{n}")
        for speaker in "ab"
        for n in range(10)
        for piece in range(4)
    ]
    splits = make_splits(rows, DEFAULT_RULE)
    sides = [{i.partition("#")[0] for i in splits.parts[p]} for p in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert (len(sides[0]), len(sides[1])) == (9, 1)


def test_one_speaker_holds_nothing_out() -> None:
    splits = make_splits(rows_of(["only"], 20), DEFAULT_RULE)
    assert splits.parts == {"train": (), "validation": (), "test": ()}
    assert splits.notes == ("one speaker: nothing can be held out",)


def test_to_adapt_one_recording_of_each_speaker_and_class_validates() -> None:
    rows = [
        row(
            f"x/{who}-{label}-{n}#{k}",
            label=label,
            speaker=f"x/{who}",
            recording=f"x/{who}{label}{n}",
        )
        for who in ("ann", "bob")
        for label, count in (("sad", 3), ("happy", 2), ("angry", 1))
        for n in range(8, 8 + count)
        for k in range(2)
    ]
    splits = make_splits(rows, ADAPTATION_RULE)
    assert {name.partition("#")[0] for name in splits.parts["validation"]} == {
        *("x/ann-sad-10", "x/ann-happy-9", "x/bob-sad-10", "x/bob-happy-9"),
    }
    assert len(splits.parts["validation"]) == 8 and len(splits.parts["train"]) == 16
    assert splits.parts["test"] == ()
    assert splits.notes == ("validation not speaker-disjoint",)
    with pytest.raises(UserError, match="no speaker has two recordings of one class"):
        make_splits([one for one in rows if "-8#" in one.id], ADAPTATION_RULE)


def test_without_speakers_recordings_are_cut() -> None:
    splits = make_splits(rows_of([""], 100), DEFAULT_RULE)
    assert {part: len(ids) for part, ids in splits.parts.items()} == {
        "train": 81,
        "validation": 9,
        "test": 10,
    }
    assert splits.notes == ("speakers unknown: split by recording",)


def test_what_is_excluded_is_in_no_part() -> None:
    rows = [
        row(f"x/{n}", speaker=f"x/{n}", excluded="twice" if n == 6 else "") for n in range(1, 7)
    ]
    assert "x/6" not in {i for ids in make_splits(rows, DEFAULT_RULE).parts.values() for i in ids}


def test_numbers_in_names_sort_as_numbers() -> None:
    names = ["x/b", "x/actor 10", "x/10", "x/actor 2", "x/9"]
    assert natural_key("s9" + "9" * 5000) < natural_key("s1" + "0" * 5001)
    assert sorted(names, key=natural_key) == [
        "x/9",
        "x/10",
        "x/actor 2",
        "x/actor 10",
        "x/b",
    ]


# === The corpus's own ===


def test_an_official_split_is_kept_and_lacks_only_validation() -> None:
    rows = [
        row(f"x/{n}", speaker=f"x/{n}", split="test" if n > 6 else "train") for n in range(1, 9)
    ]
    splits = make_splits(rows, DEFAULT_RULE)
    assert splits.parts["test"] == ("x/7", "x/8")
    assert splits.parts["validation"] == ("x/6",)
    assert splits.parts["train"] == tuple(f"x/{n}" for n in range(1, 6))


def test_an_official_split_with_validation() -> None:
    splits = make_splits(
        [row(f"x/{s}", split=s) for s in ("test", "train", "validation")], DEFAULT_RULE
    )
    assert splits.parts == {part: (f"x/{part}",) for part in ("train", "validation", "test")}


# === By name ===


def test_named_speakers_and_ranges() -> None:
    rows = rows_of([f"{n:02d}" for n in range(1, 25)])
    splits = make_splits(rows, named("21-24", "x/17, 18,19-20"))
    assert speakers_in(rows, splits, "test") == {f"x/{n}" for n in (21, 22, 23, 24)}
    assert speakers_in(rows, splits, "validation") == {f"x/{n}" for n in (17, 18, 19, 20)}
    assert speakers_in(rows, splits, "train") == {f"x/{n:02d}" for n in range(1, 17)}
    assert splits.rule == named("21-24", "x/17, 18,19-20")
    assert make_splits(rows, named("7", "none")).parts["test"] == ("x/6-0", "x/6-1", "x/6-2")


@pytest.mark.parametrize(
    ("test", "validation", "message"),
    [
        ("9", "1", "no speaker '9' in the data; there are x/1, x/2, x/3"),
        ("8-9", "none", "no speaker '8-9'"),
        ("ann", "none", "no speaker 'ann'"),
        ("1-2", "2", "speaker x/2 both validates and tests"),
        ("1-2", "3", "no speaker is left to train on"),
    ],
)
def test_names_that_cannot_be(test: str, validation: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(rows_of([1, 2, 3]), named(test, validation))


# === Folds ===


@pytest.mark.parametrize("speakers", [[1, 2, 3, 4, 5, 6, 7], [""]])
def test_each_group_is_tested_once(speakers: list[str | int]) -> None:
    rows = rows_of(speakers, 7)
    splits = make_splits(rows, {"kind": "folds", "num_folds": 3, "fold": 2})
    assert splits.parts == splits.folds[1]
    tested = [i for fold in splits.folds for i in fold["test"]]
    assert sorted(tested) == sorted(one.id for one in rows)
    for fold in splits.folds:
        assert sorted(i for ids in fold.values() for i in ids) == sorted(one.id for one in rows)
        assert all(fold.values())


@pytest.mark.parametrize(
    ("speakers", "num_folds", "fold", "message"),
    [
        ([1, 2, 3], 4, 1, "--folds 4: must be 3 to 3"),
        ([1, 2, 3], 2, 1, "--folds 2: must be 3 to 3"),
        ([1, 2, 3], 3, 4, "--fold 4: must be 1 to 3"),
        ([1, 2, 3, ""], 3, 1, "some records have no speaker"),
    ],
)
def test_folds_that_cannot_be(
    speakers: list[str | int], num_folds: int, fold: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(rows_of(speakers), {"kind": "folds", "num_folds": num_folds, "fold": fold})


# === Properties ===

RULES = st.one_of(
    st.just(DEFAULT_RULE),
    st.builds(lambda k: {"kind": "folds", "num_folds": 3, "fold": k}, st.integers(1, 3)),
)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), RULES, st.randoms())
def test_never_by_order_and_never_a_speaker_on_two_sides(speakers, rule, rng):
    rows = [row(f"x/{place}", speaker=f"x/{one}") for place, one in enumerate(speakers)]
    if rule["kind"] == "folds" and len(set(speakers)) < 3:
        return
    splits = make_splits(rows, rule)
    shuffled = rng.sample(rows, len(rows))
    other = make_splits(shuffled, rule)
    assert {p: set(ids) for p, ids in other.parts.items()} == {
        p: set(ids) for p, ids in splits.parts.items()
    }
    placed = [i for ids in splits.parts.values() for i in ids]
    assert len(placed) == len(set(placed)) == (0 if len(set(speakers)) == 1 else len(rows))
    sides = {part: speakers_in(rows, splits, part) for part in splits.parts}
    assert not sides["test"] & (sides["train"] | sides["validation"])
    if not splits.notes:
        assert not sides["validation"] & sides["train"]
        assert all(sides.values())


# === `split` ===


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = rows_of(range(1, 7))
    atomic_io.write_checksummed_json(
        tmp_path / data_folder.SETTINGS_FILE, {"sample_rate_hz": 16_000}
    )
    data_folder.write_rows(tmp_path, rows)
    data_folder.write_splits(tmp_path, make_splits(rows, DEFAULT_RULE))
    return tmp_path


def split(data: Path, *words: str) -> int:
    return cli.main(["split", "--data", str(data), *words])


def test_split_rewrites_splits_json_only(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_below(data)
    assert split(data, "--test-speakers", "1-2", "--val-speakers", "3") == EXIT_OK
    after = files_below(data)
    assert {name for name in after if after[name] != before.get(name)} == {"splits.json"}
    assert after.keys() == before.keys()
    printed = capsys.readouterr().out
    assert "test: 6 records, speakers x/1, x/2" in printed
    assert "validation: 3 records, speakers x/3" in printed
    assert split(data) == EXIT_OK
    assert files_below(data) == before


def test_split_into_folds(data: Path) -> None:
    assert split(data, "--folds", "3", "--fold", "3") == EXIT_OK
    splits = open_data_folder(data).splits
    assert len(splits.folds) == 3
    assert splits.parts == splits.folds[2]
    assert {i.partition("-")[0] for i in splits.parts["test"]} == {"x/4", "x/5"}


def test_split_mends_a_damaged_splits_json(data: Path) -> None:
    (data / "splits.json").write_text('{"train": [')
    with pytest.raises(UserError, match=r"splits\.json: damaged"):
        open_data_folder(data)
    assert split(data) == EXIT_OK
    assert open_data_folder(data).splits.parts["test"]


FLIPPED = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7))


def flipped(content: bytes, where: tuple[float, int]) -> bytes:
    """One bit changed."""
    changed = bytearray(content)
    changed[int(where[0] * len(content))] ^= 1 << where[1]
    return bytes(changed)


@pytest.mark.parametrize("name", ["clips.csv", "splits.json"])
@given(where=FLIPPED)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_is_noticed_and_named(
    name: str, where: tuple[float, int], data: Path
) -> None:
    content, known = (data / name).read_bytes(), open_data_folder(data)
    (data / name).write_bytes(flipped(content, where))
    try:
        try:
            found = open_data_folder(data)
        except UserError as error:
            assert str(error).startswith(str(data / name))
            assert str(error).endswith(" again")
        else:  # white space between values, or the name of a checksum
            assert name == "splits.json" and found == known
        if name == "clips.csv":
            assert split(data) == EXIT_FAILURE
    finally:
        (data / name).write_bytes(content)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--folds", "3", "--test-speakers", "1"), EXIT_USAGE, "exclude each other"),
        (("--adaptation-split", "--folds", "3"), EXIT_USAGE, "goes with none of the others"),
        (("--folds", "many"), EXIT_USAGE, "'many' is not a valid integer"),
        (("--test-speakers", "9"), EXIT_FAILURE, "no speaker '9' in the data"),
        (("--folds", "99"), EXIT_FAILURE, "--folds 99: must be 3 to 6"),
    ],
)
def test_split_refuses(
    data: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_below(data)
    assert split(data, *words) == code
    assert message in capsys.readouterr().err
    assert files_below(data) == before


def test_split_of_no_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(tmp_path / "absent") == EXIT_FAILURE
    assert capsys.readouterr().err == (
        f"Error: {tmp_path / 'absent'}: not a prepared corpus (no clips.csv);"
        " run `preprocess` first\n"
    )


# === By session ===


def dialogues(num_sessions: int = 5) -> list[ClipRow]:
    """Three clips of each of a woman and a man a session."""
    return [
        row(
            f"x/{session}{sex}-{n}",
            speaker=f"iemocap/Ses{session:02d}{sex}",
            attributes={"session": str(session)},
        )
        for session in range(1, num_sessions + 1)
        for sex in "FM"
        for n in range(3)
    ]


def sessions_in(rows: Sequence[ClipRow], splits: Splits, part: str) -> set[str]:
    return {one.attributes["session"] for one in rows if one.id in splits.parts[part]}


def test_whole_sessions_test_and_validate() -> None:
    rows = dialogues()
    rule = {"kind": "sessions", "test": ["5"], "validation": ["4"]}
    splits = make_splits(rows, rule)
    assert sessions_in(rows, splits, "test") == {"5"}
    assert sessions_in(rows, splits, "validation") == {"4"}
    assert sessions_in(rows, splits, "train") == {"1", "2", "3"}
    assert speakers_in(rows, splits, "test") == {"iemocap/Ses05F", "iemocap/Ses05M"}
    assert splits.notes == ()
    assert make_splits(list(reversed(rows)), splits.rule).parts["test"] == tuple(
        reversed(splits.parts["test"])
    )


def test_folds_by_session_test_each_session_once() -> None:
    rows = dialogues()
    rule = {"kind": "folds", "num_folds": 5, "fold": 2, "by": "session"}
    splits = make_splits(rows, rule)
    tested = []
    for parts in splits.folds:
        fold = Splits(parts, rule)
        test, validation = (sessions_in(rows, fold, part) for part in ("test", "validation"))
        assert len(test) == len(validation) == 1
        assert sessions_in(rows, fold, "train") == set("12345") - test - validation
        tested += sorted(test)
    assert sorted(tested) == ["1", "2", "3", "4", "5"]
    assert splits.parts == splits.folds[1]


def test_one_speaker_of_the_last_session_validates_and_the_other_tests() -> None:
    rows = dialogues()
    splits = make_splits(rows, named("Ses05F", "Ses05M"))
    assert speakers_in(rows, splits, "test") == {"iemocap/Ses05F"}
    assert speakers_in(rows, splits, "validation") == {"iemocap/Ses05M"}
    assert len(splits.parts["train"]) == 24


def test_a_speaker_in_two_sessions_is_noted() -> None:
    rows = [
        row(f"x/{session}-{n}", speaker="x/1", attributes={"session": session})
        for session in "123"
        for n in range(2)
    ]
    rule = {"kind": "sessions", "test": ["3"], "validation": ["2"]}
    folds = {"kind": "folds", "num_folds": 3, "fold": 1, "by": "session"}
    for one in (rule, folds):
        (note,) = make_splits(rows, one).notes
        assert "not speaker-disjoint" in note


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"test": ["6"], "validation": []}, "no session '6' in the data; there are 1, 2, 3, 4, 5"),
        ({"test": ["5"], "validation": ["4-5"]}, "session 5 both validates and tests"),
        ({"test": ["1-3"], "validation": ["4-5"]}, "no session is left to train on"),
    ],
)
def test_wrong_sessions_are_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_splits(dialogues(), {"kind": "sessions", **rule})


def test_sessions_must_be_known_of_every_record() -> None:
    rule = {"kind": "sessions", "test": ["1"], "validation": []}
    by_session = {"kind": "folds", "num_folds": 3, "fold": 1, "by": "session"}
    for one in (rule, by_session):
        with pytest.raises(UserError, match="no record has a session"):
            make_splits(rows_of([1, 2, 3]), one)
        with pytest.raises(UserError, match="3 records have no session"):
            make_splits([*dialogues(), *rows_of([9])], one)
    with pytest.raises(UserError, match=r"--folds 6: must be 3 to 5 \(sessions\)"):
        make_splits(dialogues(), {**by_session, "num_folds": 6})


def test_split_command_by_session(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = dialogues()
    data_folder.write_rows(data, rows)
    data_folder.write_splits(data, make_splits(rows, DEFAULT_RULE))
    assert split(data, "--test-sessions", "5", "--val-sessions", "4") == EXIT_OK
    splits = open_data_folder(data).splits
    assert splits.rule == {"kind": "sessions", "test": ["5"], "validation": ["4"]}
    assert sessions_in(rows, splits, "validation") == {"4"}
    assert "test: 6 records, speakers iemocap/Ses05F, iemocap/Ses05M" in capsys.readouterr().out
    assert split(data, "--folds", "5", "--group-by", "session", "--fold", "5") == EXIT_OK
    splits = open_data_folder(data).splits
    assert splits.rule == {"kind": "folds", "num_folds": 5, "fold": 5, "by": "session"}
    assert sessions_in(rows, splits, "test") == {"5"}
    assert split(data, "--folds", "5") == EXIT_OK
    assert open_data_folder(data).splits.rule == {"kind": "folds", "num_folds": 5, "fold": 1}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--folds", "3", "--test-sessions", "1"), EXIT_USAGE, "lists of sessions exclude"),
        (("--test-speakers", "1", "--val-sessions", "2"), EXIT_USAGE, "exclude each other"),
        (("--group-by", "session"), EXIT_USAGE, "--group-by goes with --folds"),
        (("--test-sessions", "1"), EXIT_FAILURE, "no record has a session"),
    ],
)
def test_split_by_session_refuses(
    data: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files_below(data)
    assert split(data, *words) == code
    assert message in capsys.readouterr().err
    assert files_below(data) == before
