"""``vidjacobi export``: a batch's futures as a LeRobot dataset."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Write a batch's finished futures as a LeRobot v3.0 dataset.

Every future is an episode that begins with its context. The mp4 files are copied as they are. `predicted` is 0 in
the frames of the context and 1 after it; meta/episodes names the source episode, start and sample of each. There are
no actions: the world model predicts pictures.
"""

EXAMPLES = """examples:
  vidjacobi batch my_lerobot_set/ --camera top --samples 8 --out futures
  vidjacobi export futures futures_lerobot
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("export", TEXT, EXAMPLES)
    made.add_argument("out", metavar="DIR", type=Path, help="folder of a batch that kept videos")
    made.add_argument("destination", metavar="DEST", type=Path, help="folder to make")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Export; counts of the dataset. Raises BadInput, BadOutput."""
    from vidjacobi.batch.lerobot_export import export_lerobot
    from vidjacobi.batch.run import require_batch

    require_batch(args.out)
    totals = export_lerobot(args.out, args.destination)
    print(f"{args.destination}: a LeRobot v3.0 dataset of {totals['episodes']:,} episodes")
    return {"dataset": str(args.destination), **totals}
