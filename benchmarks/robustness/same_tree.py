"""Whether two folders that a command wrote hold the same, and whether a file in them is whole.

Bytes are compared, but for what tells time or words typed, and for containers that hold a date:
of those the content. Weights must be equal to the last bit.
"""

from __future__ import annotations

import csv
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from affectstream.core import atomic_io
from affectstream.core.errors import UserError

# Differences allowed between equal runs: clocks, typed commands, memory addresses.
VOLATILE_KEYS = frozenset(
    {"seconds", "input_wait_share", "command", "digest", "date_saved", "shared_object_id"}
)
# Left by a run that was stopped: our temporary files, and partial downloads.
TEMPORARY = re.compile(r"\.part-|\.part(\.json)?$|^\.download$|^cache_|\.lockfile$")
# Keras writes a date into it, the learning rate's graph its own numbers.
EVENTS = "events.out.tfevents"
# TensorFlow's name for a model, new in each export; see `_saved_model`.
FINGERPRINT = "fingerprint.pb"


def files_of(folder: Path) -> dict[str, Path]:
    """Name below `folder` -> file; logs of TensorBoard under one name each folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            found[str(name.with_name(EVENTS) if EVENTS in path.name else name)] = path
    return found


def is_temporary(name: str) -> bool:
    """Whether a component of a path marks it as ignored."""
    return any(TEMPORARY.search(part) for part in Path(name).parts)


def temporaries(folder: Path) -> list[str]:
    """Names of temporary files and folders below `folder`."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in names if is_temporary(name))


def differences(here: Path, there: Path) -> list[str]:
    """What is not the same in two folders, a line each; empty where all is."""
    ours, theirs = files_of(here), files_of(there)
    told = [f"{name}: missing" for name in sorted(theirs.keys() - ours.keys())]
    told += [f"{name}: too much" for name in sorted(ours.keys() - theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if difference := _difference(ours[name], theirs[name]):
            told.append(f"{name}: {difference}")
    return told


def _difference(one: Path, other: Path) -> str:
    if one.name == FINGERPRINT or one.read_bytes() == other.read_bytes():
        return ""
    if EVENTS in one.name:
        logs = [_logged(path) for path in (one, other)]
        found = [set(log) for log in logs]
    else:
        read = CONTENT.get(one.suffix)
        if read is None:
            return "other bytes"
        found = [read(path) for path in (one, other)]
    if found[0] == found[1]:
        return ""
    if isinstance(found[0], dict) and isinstance(found[1], dict):
        keys = [k for k in {**found[0], **found[1]} if found[0].get(k) != found[1].get(k)]
        return f"other content ({', '.join(map(str, keys[:3]))})"
    return "other content"


# === What a file says ===


def _json(path: Path) -> Any:
    return without_passing(json.loads(path.read_text("utf-8")))


def without_passing(value: Any) -> Any:
    """JSON without values that may differ between runs."""
    if isinstance(value, dict):
        return {k: without_passing(v) for k, v in value.items() if k not in VOLATILE_KEYS}
    return [without_passing(v) for v in value] if isinstance(value, list) else value


def _csv(path: Path) -> Any:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in VOLATILE_KEYS} for row in rows]


def _keras(path: Path) -> dict[str, Any]:
    """Member of a `.keras` file -> its content; of weights: their name -> bytes."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".h5"):
                found |= {f"{name}:{key}": value for key, value in _arrays(data).items()}
            else:
                found[name] = without_passing(json.loads(data))
    return found


def _arrays(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item).tobytes()

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(take)
    return found


def _logged(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """(step, tag, value) of a log of TensorBoard."""
    from tensorboard.compat.proto import event_pb2

    for data in tfrecords(path):
        event = event_pb2.Event.FromString(data)
        for value in event.summary.value:
            yield event.step, value.tag, value.tensor.SerializeToString()


CONTENT: dict[str, Callable[[Path], Any]] = {".json": _json, ".csv": _csv, ".keras": _keras}


# === Whole, or half? ===


def corruption_reason(path: Path) -> str:
    """Reason why a file is incomplete; "" if it looks complete.

    A log of TensorBoard is appended to and has no end.
    """
    check = _CHECKS.get(path.suffix)
    if check is None or EVENTS in path.name:
        return ""
    try:
        return check(path)
    except (OSError, ValueError, KeyError, UserError, zipfile.BadZipFile, struct.error) as error:
        return str(error) or type(error).__name__


def _whole_json(path: Path) -> str:
    value = json.loads(path.read_text("utf-8"))
    if isinstance(value, dict) and "digest" in value:
        atomic_io.read_checksummed_json(path)
    return ""


def _whole_csv(path: Path) -> str:
    text = path.read_text("utf-8")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    even = len({len(row) for row in rows}) == 1
    return "" if even and text.endswith("\n") else "cut short"


def _whole_keras(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
    _keras(path)
    return f"damaged member {bad}" if bad else ""


def _whole_tfrecord(path: Path) -> str:
    list(tfrecords(path))
    return ""


def _whole_png(path: Path) -> str:
    return "no picture" if cv2.imread(str(path)) is None else ""


_CHECKS = {
    ".json": _whole_json,
    ".csv": _whole_csv,
    ".keras": _whole_keras,
    ".tfrecord": _whole_tfrecord,
    ".png": _whole_png,
}


def tfrecords(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file by its lengths alone.

    Raises:
      ValueError: the file ends within a record.
    """
    data = path.read_bytes()
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            raise ValueError("ends within a record")
        yield data[at + 12 : at + 12 + length]
        at += 16 + length
