"""``vidjacobi eval pictures``: are pictures of fast decoders as good as AR's?"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = """Compare finished runs of `vidjacobi image` by passes, seconds and the distance of their pictures, FID first.

REFERENCE is a run of --decoder ar with another --seed (do fast pictures have AR's distribution?), or a folder of real
pictures. The runs are of the same prompts, one of them with --decoder ar. OUT gets results.json, .csv, .md and .tex,
and sheet.png with the runs one below another.

FID needs torch-fidelity (pip install torch-fidelity) and its file of Inception's weights, --weights, of which tensors
alone are read. --network dinov2 takes a folder of transformers instead; its distance is FD-DINOv2.
"""

EXAMPLES = """examples:
  vidjacobi image --prompts captions.txt --samples 8 --decoder ar --seed 1 --out runs/reference
  vidjacobi image --prompts captions.txt --samples 8 --decoder ar --out runs/ar
  vidjacobi image --prompts captions.txt --samples 8 --decoder mc_sjd --window 32 --out runs/mc_sjd-32
  vidjacobi eval pictures runs/reference runs/ar runs/mc_sjd-32 --weights weights-inception-2015-12-05-6726825d.pth
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("eval pictures", TEXT, EXAMPLES)
    add = made.add_argument
    add(
        "reference",
        type=Path,
        metavar="REFERENCE",
        help="a run of ar with another seed, or a folder of pictures",
    )
    add("folders", nargs="+", type=Path, metavar="RUN", help="folders of `vidjacobi image`")
    options.add_out(add, "out/eval_pictures")
    add("--overwrite", action="store_true", help="replace an earlier evaluation of pictures there")
    add("--network", default="inception", metavar="NAME", help="inception (FID) or dinov2 (inception)")
    add("--weights", type=Path, metavar="PATH", help="of the network: a file, of dinov2 a folder (required)")
    add(
        "--cache",
        type=options.place,
        metavar="DIR",
        help="keep features here, so that none is computed twice",
    )
    add("--draws", type=options.whole, default=1000, metavar="N", help="resamplings of the bootstrap (1000)")
    add(
        "--seed",
        type=options.whole,
        default=0,
        metavar="S",
        help="of the bootstrap and the floor's halves (0)",
    )
    options.add_device(add, "auto")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Measure and print; the lines. Raises VidjacobiError."""
    from vidjacobi.eval.pictures.report import SHEET
    from vidjacobi.eval.pictures.report import TEXT as TABLES
    from vidjacobi.eval.pictures.run import PictureEval, judge

    config = PictureEval(
        args.reference,
        tuple(args.folders),
        network=args.network,
        weights=args.weights,
        cache=args.cache,
        draws=args.draws,
        seed=args.seed,
        device=args.device,
    )
    out = Path(args.out)
    results = judge(config, out, args.overwrite, lambda line: print(line, file=sys.stderr, flush=True))
    print((out / TABLES).read_text(encoding="utf-8"))
    print(f"{out / SHEET}: the runs one below another")
    return {"out": str(out), "lines": results["lines"]}
