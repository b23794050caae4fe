"""Commands killed at random moments (SIGKILL), and run again: the same as if undisturbed?

Of each command one undisturbed run, then so many kills, each on a fresh copy of the inputs; see
`kill_trials` for how moments are drawn. After a kill no half file may stand under its final name;
after the command was run again the result must equal the undisturbed one (weights and predictions
to the last bit, timings left out), and no temporary and no process may be left. Exit code 1: a
defect was found.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

from affectstream.core import progress
from benchmarks import report
from benchmarks.publisher import publisher
from benchmarks.robustness import kill_jobs
from benchmarks.robustness.kill_jobs import jobs
from benchmarks.robustness.kill_trials import KillTrials, Trial

KILLS = 100
QUICK_KILLS = 2
QUICK = ("download",)
MOMENTS = ("start-up", "working", "after the end")
COLUMNS = ("command", "seconds undisturbed", "kills", *MOMENTS, "equal", "defects")


def measure(arena: KillTrials, num_kills: int, seed: int) -> list[Trial]:
    """So many kills of one command."""
    trials = []
    for number in progress.track(range(num_kills), num_kills, arena.job.name, "kill"):
        rng = np.random.default_rng([seed, number, *arena.job.name.encode()])
        trial = arena.trial(rng, number)
        for defect in trial.defects:
            group = "the group" if trial.whole_group else "the program"
            progress.print_message(
                f"{arena.job.name}, kill {number} of {group}, {trial.way}, {trial.moment} at"
                f" {trial.at_s:.2f} s: {defect}"
            )
        trials.append(trial)
    return trials


def row(arena: KillTrials, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Cells of `COLUMNS`."""
    moments = Counter(trial.moment for trial in trials)
    return (
        arena.job.name,
        f"{arena.reference.seconds:.1f}",
        f"{len(trials)}",
        *(f"{moments[moment]}" for moment in MOMENTS),
        f"{sum(trial.is_equal for trial in trials)}",
        f"{sum(len(trial.defects) for trial in trials)}",
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, section="killed")
    parser.add_argument("--kills", type=int, default=KILLS, help="of each [default: %(default)s]")
    parser.add_argument("--commands", nargs="+", help="only these [default: all]")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(words)
    kills = QUICK_KILLS if chosen.quick else chosen.kills
    with report.work_folder(chosen.work) as work, publisher() as mirror, report.user_errors():
        machine, work = report.machine(), work.resolve()
        known = jobs(work, mirror)
        rows, num_defects = [], 0
        for name in chosen.commands or (QUICK if chosen.quick else sorted(known)):
            arena = KillTrials(known[name](), work / "trials" / name.replace(", ", "-"))
            trials = measure(arena, kills, chosen.seed)
            num_defects += sum(len(trial.defects) for trial in trials)
            rows.append(row(arena, trials))
    text = f"{kill_jobs.describe_inputs()}.\n\n{report.table(COLUMNS, rows)}"
    report.publish(
        "Killed anywhere",
        "killed",
        words,
        machine,
        [text],
        chosen,
    )
    return 1 if num_defects else 0


if __name__ == "__main__":
    raise SystemExit(main())
