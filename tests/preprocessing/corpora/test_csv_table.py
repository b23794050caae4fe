"""The reader of CSV tables that all corpora with such a table share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import CorpusIndex
from affectstream.preprocessing.corpora.csv_table import parse_csv
from affectstream.preprocessing.corpora.emotion import EMOTION
from affectstream.preprocessing.corpora.manifest import MANIFEST
from affectstream.preprocessing.corpora.meld import MELD_TEXT

PATH = Path("folder/table.csv")


def test_rows_know_their_lines_and_cells() -> None:
    text = '\n a , B \r\n1,"x, ""y""\nz"\n\n\n2\n3,4,5\n'
    table = parse_csv(PATH, text, ["B"])
    assert table.columns == ("a", "B")
    places = [(row.first_line, row.last_line, row.cells) for row in table.rows]
    assert places == [(3, 4, ("1", 'x, "y"\nz')), (7, 7, ("2",)), (8, 8, ("3", "4", "5"))]
    assert table.rows[0].raw == '1,"x, ""y""\nz"\n'
    named = [table.row_as_dict(row) for row in table.rows]
    assert named == [{"a": "1", "B": 'x, "y"\nz'}, {"a": "2", "B": ""}, {"a": "3", "B": "4"}]


def test_names_of_columns_in_any_case_only_where_asked_for() -> None:
    assert parse_csv(PATH, "Text\nx\n", ["text"], ignore_case=True).columns == ("text",)
    with pytest.raises(UserError, match=r"column text missing \(has Text\)"):
        parse_csv(PATH, "Text\nx\n", ["text"])


Read = Callable[[Path], CorpusIndex]


@pytest.mark.parametrize(
    ("read", "name", "header"),
    [
        (MANIFEST.build_index, "manifest.csv", "path,label,speaker"),
        (EMOTION.build_index, "train.csv", "text,label"),
        (
            MELD_TEXT.build_index,
            "dev_sent_emo.csv",
            "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID",
        ),
    ],
)
def test_each_corpus_says_the_same(read: Read, name: str, header: str, tmp_path: Path) -> None:
    table = tmp_path / name
    first, *others = header.split(",")
    cases = {
        f"{first}\n": f"column {', '.join(others)} missing (has {first}); add it",
        f'{header}\n\n"open,x\ny,z\n': "no CSV (unexpected end of data); double the quotes"
        " inside a cell and close it",
        f'{header}\n"a" b,x\n': "no CSV (',' expected after '\"'); double the quotes"
        " inside a cell and close it",
    }
    for line, (text, wanted) in zip(("", ":3", ":2"), cases.items(), strict=True):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            read(tmp_path)
        assert str(caught.value) == f"{table}{line}: {wanted}"
