"""``vidjacobi eval actions``: do predicted frames follow their actions?"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Read actions off predicted frames, and compare them with those recorded.

FUTURES is the folder of a finished `vidjacobi batch` whose dataset has actions; further folders are batches of the
same clips, such as one made with --actions shuffled. A reader (ridge regression, or a small network) is fitted on the
true frames of some recordings and reads the frames of others, true and predicted: so its own error stands beside.
Controls: the context's last frame held still, the actions of another recording, and batches that were fed other
actions. OUT gets results.json, .csv, .md and .tex, and report.html with clips side by side.

Pictures are needed: run the batch with --output frames (best) or videos. Needs scikit-learn: pip install scikit-learn
"""

EXAMPLES = """examples:
  vidjacobi batch my_set/ --model pusht:out/nano-pusht --actions dataset --output frames --out futures
  vidjacobi batch my_set/ --model pusht:out/nano-pusht --actions shuffled --output frames --out shuffled
  vidjacobi eval actions futures shuffled --features pusht --out out/actions
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("eval actions", TEXT, EXAMPLES)
    add = made.add_argument
    add("folders", nargs="+", type=Path, metavar="FUTURES", help="folders of batches, the judged one first")
    options.add_out(add, "out/actions")
    add("--overwrite", action="store_true", help="replace an earlier evaluation of actions there")
    add(
        "--features",
        default="pixels",
        metavar="NAME",
        help="pixels, or pusht: the agent by its colour (pixels)",
    )
    add("--reader", default="ridge", metavar="NAME", help="ridge or network (ridge)")
    column = "the dataset's column of actions, where the batch was fed none (action)"
    add("--column", metavar="NAME", help=column)
    add("--source", type=Path, metavar="DIR", help="where the dataset lies now, if it was moved")
    add("--clips", type=options.whole, metavar="N", help="futures at most (all)")
    add("--videos", type=options.whole, default=4, metavar="N", help="clips that the report plays (4)")
    add("--seed", type=options.whole, default=0, metavar="S", help="of folds and network (0)")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Judge and print; lines and verdict. Raises VidjacobiError."""
    from vidjacobi.eval.actions.report import PAGE
    from vidjacobi.eval.actions.report import TEXT as TABLES
    from vidjacobi.eval.actions.run import ActionRun, judge

    config = ActionRun(
        tuple(args.folders),
        source=args.source,
        column=args.column,
        features=args.features,
        reader=args.reader,
        clips=args.clips,
        videos=args.videos,
        seed=args.seed,
    )
    out = Path(args.out)
    results = judge(config, out, args.overwrite, lambda line: print(line, file=sys.stderr, flush=True))
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"{out / PAGE}: open it in a browser")
    return {"out": str(out), "lines": results["lines"], "verdict": results["verdict"]}
