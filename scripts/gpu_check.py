"""Ten minutes on a GPU: which passes are width-invariant, whether tokens are identical, and milliseconds of a pass.

    python scripts/gpu_check.py
    python scripts/gpu_check.py --device cpu --small

One command without arguments, for an H100 or a card of its class with 12 GB free: no files and no network are needed
beside the installed package. It writes `gpu_check.json` and `gpu_check.md`, a table to paste into an issue, and
prints the table. Each stage is a process with a time box of its own, so a stage that fails, hangs or crashes takes
nothing from the others, and what it found until then is kept. **Untested on a GPU**: it was written without one.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAGES_FILE = Path(__file__).with_name("gpu_stages.py")
MOST = 590.0  # seconds of all stages
# cuBLAS reads these when CUDA starts: without room to keep partial sums in, no product is split along its inner axis
NO_SPLIT_K = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUBLASLT_WORKSPACE_SIZE": "1"}
Record = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """What runs in one process, in what environment, and for at most how many seconds."""

    title: str
    name: str
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)


STAGES = (
    Stage("about", "about", 30),
    Stage("probe", "probe", 60),
    Stage("probe, split-K off", "probe", 60, NO_SPLIT_K),
    Stage("identical", "identical", 220),
    Stage("passes", "passes", 220),
)


@dataclass(frozen=True)
class Outcome:
    """What a stage found, how long it took, and why it ended before its end (empty: it did not)."""

    records: list[Record]
    seconds: float
    failure: str = ""

    @property
    def failures(self) -> list[str]:
        """Of the stage and of its cases, each once."""
        found = [record["error"] for record in self.records if "error" in record]
        return list(dict.fromkeys([*found, *([self.failure] if self.failure else [])]))


def run_stage(
    command: Sequence[str], records: Path, seconds: float, environment: Mapping[str, str]
) -> Outcome:
    """Run a stage's command, and end it with all its processes when its time is over."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, env={**os.environ, **environment}, start_new_session=True
        )
        failure = ""
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            failure = f"ended after its {seconds:.0f} s"
        finally:
            with_all_its_own(process)
        if not failure and status:
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or [""]
            how = f"exit status {status}" if status > 0 else signal.Signals(-status).name
            failure = f"{lines[-1][:300]} ({how})"
    found = records.read_text(encoding="utf-8").splitlines() if records.is_file() else []
    return Outcome(
        [json.loads(line) for line in found if line.endswith("}")], time.monotonic() - began, failure
    )


def with_all_its_own(process: "subprocess.Popen[bytes]") -> None:
    """End a process and those that it started, such as a compiler's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(device: str, small: bool, stages: Sequence[Stage] = STAGES) -> dict[str, Outcome]:
    """The outcomes of all stages by title, as long as there is time."""
    outcomes: dict[str, Outcome] = {}
    until = time.monotonic() + MOST
    with tempfile.TemporaryDirectory() as folder:
        for number, stage in enumerate(stages):
            seconds = min(stage.seconds, until - time.monotonic())
            if seconds < 1:
                outcomes[stage.title] = Outcome([], 0.0, "no time was left")
                continue
            print(f"{stage.title}: at most {seconds:.0f} s", file=sys.stderr, flush=True)
            records = Path(folder) / f"{number}.jsonl"
            command = [sys.executable, str(STAGES_FILE), stage.name, "--device", device]
            command += ["--records", str(records), "--seconds", f"{seconds:.1f}", *["--small"][: int(small)]]
            outcomes[stage.title] = run_stage(command, records, seconds, stage.environment)
            if stage.name == "about" and outcomes[stage.title].failure:
                break  # no device, or no package
    return outcomes


def report(outcomes: Mapping[str, Outcome]) -> list[str]:
    """The lines of gpu_check.md."""
    about = outcomes["about"].records
    lines = [f"**gpu_check** {json.dumps(about[0]) if about else ''}", ""]
    lines += probe_lines({title: outcome.records for title, outcome in outcomes.items() if "probe" in title})
    lines += identical_lines(outcomes["identical"].records if "identical" in outcomes else [])
    small = bool(about and about[0].get("small"))
    lines += pass_lines(outcomes["passes"].records if "passes" in outcomes else [], small)
    for title, outcome in outcomes.items():
        lines.append("; ".join([f"{title}: {outcome.seconds:.0f} s", *outcome.failures]))
    return lines


def probe_lines(probes: Mapping[str, list[Record]]) -> list[str]:
    """A row for each operator and way of making rows alike; a column for each environment."""
    rows: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    words = {True: "holds", False: "**no**", None: "failed"}
    for title, records in probes.items():
        for record in records:
            rows[record["what"], record["how"]][title] = words[record.get("holds")]
    cells = [
        f"| {what} | {how} | {' | '.join(found.get(title, '-') for title in probes)} |"
        for (what, how), found in rows.items()
    ]
    return [
        f"| same bits in any pass (bfloat16) | | {' | '.join(probes)} |",
        "|---" * (2 + len(probes)) + "|",
        *cells,
        "",
    ]


def identical_lines(records: Sequence[Record]) -> list[str]:
    """A row for each decode."""
    lines = [
        "| pathwise beside eager ar | passes are | window | tokens that differ | said to be bitwise |",
        "|---" * 5 + "|",
    ]
    for one in records:
        first = "" if one.get("first") is None else f", the first at {one['first']}"
        differ = "failed | -"
        if "differ" in one:
            differ = f"{one['differ']} of {one['tokens']}{first} | {'yes' if one['bitwise'] else 'no'}"
        lines.append(f"| {one['model']}, {one['dtype']} | {one['mode']} | {one['window']} | {differ} |")
    return [*lines, ""]


def pass_lines(records: Sequence[Record], small: bool = False) -> list[str]:
    """A row for each window and prefix: measured milliseconds and bytes beside the predicted."""
    rows: dict[tuple[int, int], dict[str, Record]] = defaultdict(dict)
    for record in records:
        rows[record["window"], record["prefix"]][record["mode"]] = record
    sheet = records[0]["sheet"] if records else "?"
    what = "a small model, whose seconds mean nothing" if small else "a synthetic 4B"
    titles = ["window", "prefix", "eager ms", "compiled ms", "graph ms", "GB at the peak, eager"]
    lines = [
        f"Measured / predicted by `plan` for {sheet}, whole passes of {what}.",
        "",
        f"| {' | '.join(titles)} |",
    ]
    lines.append("|---" * len(titles) + "|")
    for (window, prefix), found in sorted(rows.items()):
        cells = [
            pair(found.get(mode), "ms", "predicted_ms", 1.0) for mode in ("off", "default", "reduce-overhead")
        ]
        cells.append(pair(found.get("off"), "peak", "predicted_peak", 1e-9))
        lines.append(f"| {window} | {prefix} | {' | '.join(cells)} |")
    return [*lines, ""]


def pair(record: Record | None, measured: str, predicted: str, unit: float) -> str:
    """``measured / predicted`` of a record, as far as there are any."""
    if record is None or measured not in record:
        return "-" if record is None else "failed"
    return " / ".join(f"{unit * record[key]:.2f}" for key in (measured, predicted) if key in record)


def main(words: Sequence[str] | None = None) -> int:
    """Run all stages and write both files; returns 1 where a stage failed or ran out of time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument(
        "--small", action="store_true", help="small sizes, to see that it runs: seconds mean nothing"
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the two files (the current one)")
    args = parser.parse_args(words)
    args.out.mkdir(parents=True, exist_ok=True)
    outcomes = run_all(args.device, args.small)
    lines = report(outcomes)
    stages = {title: vars(outcome) for title, outcome in outcomes.items()}
    (args.out / "gpu_check.json").write_text(json.dumps(stages, indent=1) + "\n", encoding="utf-8")
    (args.out / "gpu_check.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    return int(any(outcome.failures for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
