"""CPU seconds and memory of `vidjacobi rollout` as a whole process, of two builds in turn.

    git worktree add /tmp/before 9ea81e5
    OMP_NUM_THREADS=1 python scripts/rollout_cost.py /tmp/before .

Each run is a process of its own with the default options (or those after `--`). CPU seconds are those of the process
and of all that it starts, the reading worker included; the resident set is the largest of any one of them, as the
kernel notes it (`ru_maxrss`). Beside it stands what a process takes that only imports torch and ends. Modules are
compiled in the first round, which is not counted, and kept on the disk, as for everyone who runs a command twice.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: what the process leaves behind becomes our child and is counted


@dataclass(frozen=True)
class Cost:
    """What one run took: CPU seconds of all its processes, and MB of the largest."""

    cpu: float
    mb: float


def cost_of(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command in ``folder``. Raises SystemExit where it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        usages = []
        failed = False
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            usages.append(usage)
            failed = failed or (pid == process.pid and status != 0)
        if failed:
            said.seek(0)
            sys.exit(f"{' '.join(command)} in {folder} failed:\n{said.read().decode(errors='replace')}")
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    return Cost(cpu, max(usage.ru_maxrss for usage in usages) * 1024 / 1e6)


def measured(builds: Sequence[Path], rounds: int, options: Sequence[str]) -> dict[str, list[Cost]]:
    """The costs of a rollout with each build, and of importing torch alone, in turn; the first round warms up."""
    rollout = [sys.executable, "-m", "vidjacobi", "rollout", *options]
    found: dict[str, list[Cost]] = {str(build): [] for build in builds} | {"import torch": []}
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            for build in builds:
                environment = {**usual, "PYTHONPATH": str(build.resolve())}
                out = Path(folder) / f"{number}-{list(builds).index(build)}"
                cost = cost_of([*rollout, "--out", str(out)], Path(folder), environment)
                found[str(build)].append(cost)
            alone = cost_of([sys.executable, "-c", "import torch"], Path(folder), usual)
            found["import torch"].append(alone)
    return {name: costs[1:] for name, costs in found.items()}


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table and ratios, and last a line of JSON."""
    words = list(sys.argv[1:] if words is None else words)
    cut = words.index("--") if "--" in words else len(words)
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("builds", nargs=2, type=Path, help="two checkouts: before, after")
    made.add_argument("--rounds", type=int, default=7, help="measured runs of each")
    args = made.parse_args(words[:cut])
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    costs = measured(args.builds, args.rounds, words[cut + 1 :])
    for name, runs in costs.items():
        cpu, mb = [run.cpu for run in runs], [run.mb for run in runs]
        print(
            f"{name:30} CPU {statistics.median(cpu):6.2f} s ({min(cpu):.2f}-{max(cpu):.2f})   "
            f"largest process {statistics.median(mb):5.0f} MB ({min(mb):.0f}-{max(mb):.0f})"
        )
    before, after = (costs[str(build)] for build in args.builds)
    pairs = list(zip(before, after, strict=True))
    ratios = {
        name: statistics.median(getattr(new, name) / getattr(old, name) for old, new in pairs)
        for name in ("cpu", "mb")
    }
    print(f"after / before, median of pairs: CPU {ratios['cpu']:.2f}, memory {ratios['mb']:.2f}")
    listed = {name: [asdict(run) for run in runs] for name, runs in costs.items()}
    print(json.dumps({"ratios": ratios, "runs": listed}))


if __name__ == "__main__":
    main()
