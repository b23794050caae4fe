"""Progress bars on stderr: count, rate and remaining time of long jobs."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

# tqdm's default lock includes a semaphore shared by processes, which a killed process leaves
# behind. Processes share no bar here.
tqdm.set_lock(threading.RLock())


# Set in worker processes: their parent shows the overall progress.
_silent: list[bool] = []


def disable() -> None:
    """Turns off all output of this module in this process."""
    _silent.append(True)


def bar(total: int | None, description: str, unit: str) -> Any:
    """A progress bar on stderr; if stderr is not a terminal, at most one line every ten seconds."""
    interactive = sys.stderr.isatty()
    return tqdm(
        disable=bool(_silent or os.environ.get("TQDM_DISABLE")),
        total=total,
        desc=description,
        unit=unit,
        file=sys.stderr,
        mininterval=0.2 if interactive else 10.0,
        ascii=not interactive,
        dynamic_ncols=interactive,
    )


def track(items: Iterable[Item], total: int | None, description: str, unit: str) -> Iterator[Item]:
    """Yields `items` while a progress bar counts them."""
    with bar(total, description, unit) as progress:
        for item in items:
            yield item
            progress.update()


def update_to(progress: Any, count: int) -> None:
    """Sets a bar to `count`, which may also be lower than before."""
    progress.update(count - progress.n)


def print_message(message: str) -> None:
    """Prints one line on stderr without breaking a progress bar."""
    if not _silent:
        tqdm.write(message, file=sys.stderr)


def print_result(line: str) -> None:
    """Prints one result line on stdout without breaking a progress bar."""
    tqdm.write(line, file=sys.stdout)
