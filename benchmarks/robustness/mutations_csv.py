"""Damage of tables: quotes, encodings, huge cells, missing columns, odd numbers, odd paths."""

from __future__ import annotations

import numpy as np

CELLS: tuple[bytes, ...] = (
    *(b"", b" ", b"nan", b"inf", b"-inf", b"-1", b"1e999", b"1e308", b"0x10", b"1_0", b"true"),
    *(
        b'"',
        b'""',
        b'"a',
        b'a"b',
        b"'",
        b"\x00",
        b"\r",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xe2\x80\xae",
    ),
    *("٣".encode(), "１".encode(), b"9" * 5000, b"-0", b"1e-400", b"=1+1", b"99999999999999999999"),
    *(b"../../../../etc/passwd", b"/dev/zero", b"/dev/stdin", b"/proc/self/mem", b"..", b".", b"/"),
    *(b"a\\..\\b.wav", b"file:///etc/passwd", b"http://localhost/a.wav", b"concat:a|b", b"%d.wav"),
    *(
        b"con.wav",
        b"a" * 300 + b".wav",
        b"~/x.wav",
        b"a\x00b.wav",
        b'"a\nb.wav"',
        b"sad",
        b"no label",
        b"train",
        b"a;b\tc",
    ),
)
LARGE = 2_000_000


def table(rng: np.random.Generator, data: bytes) -> bytes:
    """A copy with one thing wrong that a table can have wrong."""
    way = int(rng.integers(0, 10))
    lines = data.split(b"\n")
    if way < 4:
        return _cell(rng, lines, CELLS[int(rng.integers(0, len(CELLS)))])
    if way == 4:
        return _cell(rng, lines, rng.bytes(1)[:1].hex().encode() * int(2 ** rng.uniform(1, 20)))
    if way == 5:
        return _column(rng, lines)
    if way == 6:
        return _line(rng, lines)
    if way == 7:
        return _encoded(rng, data)
    if way == 8:
        return data.replace(b",", [b";", b"\t", b",,", b"", b'","'][int(rng.integers(0, 5))])
    at = int(rng.integers(0, len(data) + 1))
    return data[:at] + bytes(rng.choice([b"\0", b'"', b"\r", b"\n", b","])) + data[at:]


def _cell(rng: np.random.Generator, lines: list[bytes], value: bytes) -> bytes:
    row = int(rng.integers(0, len(lines)))
    cells = lines[row].split(b",")
    cells[int(rng.integers(0, len(cells)))] = value
    return b"\n".join([*lines[:row], b",".join(cells), *lines[row + 1 :]])


def _column(rng: np.random.Generator, lines: list[bytes]) -> bytes:
    """A column is gone, there twice, or of another name."""
    rows = [line.split(b",") for line in lines]
    place = int(rng.integers(0, len(rows[0])))
    way = int(rng.integers(0, 4))
    for number, row in enumerate(rows):
        if place < len(row):
            if way == 0:
                del row[place]
            elif way == 1:
                row.insert(place, row[place])
            elif way == 2 and number == 0:
                row[place] = row[place].upper()
            elif way == 3 and number == 0:
                row[place] = bytes(rng.choice([b"start_s", b"end_s", b"split", b"recording", b""]))
    return b"\n".join(b",".join(row) for row in rows)


def _line(rng: np.random.Generator, lines: list[bytes]) -> bytes:
    """A line is gone, there a thousand times, cut short, or in another place."""
    row, way = int(rng.integers(0, len(lines))), int(rng.integers(0, 4))
    line = lines[row]
    if way == 0:
        changed = []
    elif way == 1:
        changed = [line] * 1000
    elif way == 2:
        changed = [line[: len(line) // 2]]
    else:
        return b"\n".join([line, *lines[:row], *lines[row + 1 :]])
    return b"\n".join([*lines[:row], *changed, *lines[row + 1 :]])[:LARGE]


def _encoded(rng: np.random.Generator, data: bytes) -> bytes:
    """The same text in another encoding, or with a byte order mark."""
    text = data.decode("utf-8", errors="replace")
    names = ("utf-16", "utf-32", "utf-16-be", "utf-7", "cp1252", "utf-8-sig")
    name = names[int(rng.integers(0, len(names)))]
    return text.encode(name, errors="replace")
