"""Commands on a disk that fills up, and again after room was made: the same as if undisturbed?

The disk is a `tmpfs` that holds a copy of the inputs and has room for a share of what the command
writes; mounting it takes root. Expected: exit status 1, one line that names a file and says to free
some space, no half file, no temporary; and with more room the same command comes to the same result
as an undisturbed run. Exit code 1: a defect was found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from affectstream.core import progress
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError
from benchmarks import report
from benchmarks.publisher import publisher
from benchmarks.robustness import kill_jobs, same_tree
from benchmarks.robustness.kill_jobs import jobs
from benchmarks.robustness.kill_trials import KillTrials

LARGE_BYTES = 1 << 30
PAGE_BYTES = 4096
SHARES = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
QUICK_SHARES = (0.5,)
COLUMNS = ("command", "KiB written", "disks", "full", "equal after room was made", "defects")


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A file system of its own at `folder`, in memory.

    Raises:
      UserError: mounting is not permitted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = f"size={LARGE_BYTES}"
    _mount("-t", "tmpfs", "-o", size, "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"mount {words[-1]}: {done.stderr.strip()}; run it as root")


def leave_room(folder: Path, num_bytes: int) -> None:
    """Frees a number of bytes on the disk at `folder`."""
    stat = os.statvfs(folder)
    used = (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    _mount("-o", f"remount,size={used + num_bytes}", str(folder))


def written_bytes(folder: Path) -> int:
    """Room that the files of a folder take."""
    sizes = (path.stat().st_size for path in same_tree.files_of(folder).values())
    return sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)


def run_on_full_disk(arena: KillTrials, share: float) -> tuple[bool, bool, list[str]]:
    """One run on a disk with room for a share, and one after room was made.

    Returns:
      whether the disk was full, whether the result is equal, and the defects.
    """
    arena.fresh()
    shutil.rmtree(arena.place)
    with disk(arena.place):
        shutil.copytree(arena.job.inputs, arena.place, dirs_exist_ok=True)
        leave_room(arena.place, int(share * written_bytes(arena.reference.kept)))
        code, said = arena.run(arena.job.words)
        out, defects = arena.place / arena.job.out, []
        if code != EXIT_OK:
            defects += unexpected_output(code, said)
            defects += [f"left: {name}" for name in same_tree.temporaries(arena.place)]
        if out.exists():
            defects += arena.partial_files(out)
        leave_room(arena.place, LARGE_BYTES)
        told, more = arena.again()
    return code != EXIT_OK, not told, [*defects, *told, *more]


def unexpected_output(code: int, said: str) -> list[str]:
    """Deviations of a command on a full disk from the expected output."""
    errors = [line for line in said.splitlines() if line.startswith(("Error: ", "failed "))]
    defects = []
    if code != EXIT_FAILURE:
        defects.append(f"exit status {code}")
    if "Traceback" in said:
        defects.append(f"a traceback: {said.strip().splitlines()[-1]}")
    elif len(errors) != 1 or "free some space" not in errors[0]:
        defects.append(f"said: {' / '.join(errors) or said.strip()[-200:]}")
    return defects


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="disk-full")
    parser.add_argument("--commands", nargs="+", help="only these [default: all]")
    chosen = parser.parse_args(words)
    shares = QUICK_SHARES if chosen.quick else SHARES
    with report.user_errors(), report.work_folder(chosen.work) as work, publisher() as mirror:
        machine, work = report.machine(), work.resolve()
        known = jobs(work, mirror)
        rows, num_defects = [], 0
        for name in chosen.commands or (("preprocess",) if chosen.quick else sorted(known)):
            arena = KillTrials(known[name](), work / "full" / name.replace(", ", "-"))
            found = [
                run_on_full_disk(arena, share)
                for share in progress.track(shares, None, name, "disk")
            ]
            for share, (_, _, defects) in zip(shares, found, strict=True):
                for defect in defects:
                    progress.print_message(f"{name}, room for {share:.0%}: {defect}")
            full, equal = (sum(bool(one[place]) for one in found) for place in (0, 1))
            num = sum(len(defects) for *_, defects in found)
            num_defects += num
            kib = written_bytes(arena.reference.kept) // 1024
            rows.append((name, f"{kib:,}", len(shares), full, equal, num))
    text = f"{kill_jobs.describe_inputs()}.\n\n{report.table(COLUMNS, rows)}"
    title = "On a disk that fills up"
    report.publish(title, "disk_full", words, machine, [text], chosen)
    return 1 if num_defects else 0


if __name__ == "__main__":
    raise SystemExit(main())
