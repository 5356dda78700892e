"""``vidjacobi report``: manifest.parquet and report.html of a batch."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Make manifest.parquet and report.html of a batch's folder, also while it runs.

The report shows throughput over time, passes and acceptance, futures side by side, and what failed and why.
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("report", TEXT)
    made.add_argument("out", metavar="DIR", type=Path, help="folder of a batch")
    made.add_argument("--clips", type=options.whole, default=6, metavar="N", help="clips that are played (6)")
    return made


def run(args: Namespace) -> tuple[dict[str, Any], int]:
    """Write both; the page and the futures by status; 1 where something is damaged. Raises BadInput, BadOutput."""
    from vidjacobi.batch.manifest_table import compact
    from vidjacobi.batch.progress import tell
    from vidjacobi.batch.report import write_report
    from vidjacobi.batch.run import require_batch, tell_damage

    require_batch(args.out)
    tell_damage(args.out)
    totals = compact(args.out).counts
    page, damaged = write_report(args.out, args.clips)
    for words in damaged:
        tell(words)
    print(f"{page}: open it in a browser")
    found = {"report": str(page), "all": dict(totals), **({"damaged": damaged} if damaged else {})}
    return found, 1 if damaged else 0
