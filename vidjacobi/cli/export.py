"""``vidjacobi export``: a batch's futures as a LeRobot dataset."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options
from vidjacobi.errors import number_of

TEXT = """Write a batch's finished futures as a LeRobot v3.0 dataset.

Every future is an episode that begins with its context. Where the batch was made of a LeRobot dataset, the futures
keep its camera's key, picture size and codec, its task texts, and the state, action and other numbers recorded in the
same frames. In predicted frames these are the recording's too, of which the model was told nothing; of a batch with
--actions, `action` is what it was told. `predicted` is 0 in the frames of the context and 1 after it; `recorded` is 0
where the recording had ended and its last numbers are repeated. meta/episodes names the source episode, start and
sample of each future.
"""

EXAMPLES = """examples:
  vidjacobi batch my_lerobot_set/ --camera top --samples 8 --out futures
  vidjacobi export futures futures_lerobot
  vidjacobi export futures futures_to_merge --same-features
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("export", TEXT, EXAMPLES)
    made.add_argument("out", metavar="DIR", type=Path, help="folder of a batch that kept videos")
    made.add_argument("destination", metavar="DEST", type=Path, help="folder to make")
    source = made.add_mutually_exclusive_group()
    source.add_argument(
        "--source",
        metavar="SET",
        type=Path,
        help="where the batch's dataset lies now (default: where it lay)",
    )
    source.add_argument(
        "--pictures-only",
        action="store_true",
        help="leave texts and numbers of the dataset out, and do not open it",
    )
    made.add_argument(
        "--size",
        choices=("source", "model"),
        default="source",
        help="pictures of the size and codec of a LeRobot source, black where the model saw nothing, or the batch's "
        "own videos, copied (default: source)",
    )
    made.add_argument(
        "--same-features",
        action="store_true",
        help="only features that the LeRobot source has itself, so that lerobot merges both sets: no `predicted`, no "
        "`recorded` (meta/episodes still says how many frames are context), and nothing behind the recording's end",
    )
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Export; counts of the dataset. Raises BadInput, BadOutput, InvalidArgument."""
    from vidjacobi.batch.run import require_batch
    from vidjacobi.export.lerobot_set import ExportChoice, export_lerobot

    require_batch(args.out)
    choice = ExportChoice(args.source, args.pictures_only, args.size, args.same_features)
    totals, notes = export_lerobot(args.out, args.destination, choice)
    print(f"{args.destination}: a LeRobot v3.0 dataset of {number_of(totals['episodes'], 'episode')}")
    for note in notes:
        print(f"note: {note}")
    return {"dataset": str(args.destination), **totals, **({"notes": notes} if notes else {})}
