"""``vidjacobi eval DATASET``: roll out clips of a dataset and measure. See also eval_fvd.py and eval_setup.py."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options
from vidjacobi.errors import InvalidArgument

TEXT = """Is it as good as AR, and how much faster?

  vidjacobi eval setup                     where FVD's network weights are, or how to get them
  vidjacobi eval fvd GENERATED REAL        FVD, PSNR and SSIM of two folders of videos or of frame folders
  vidjacobi eval actions FUTURES           whether predicted frames follow their actions
  vidjacobi eval pictures REFERENCE RUN    FID, passes and seconds of runs of `vidjacobi image`
  vidjacobi eval policies --model NAME     rank policies in a world model and in the simulator
  vidjacobi eval realestate10k --data DIR  roll clips out with several decoders, measure, write tables and a report

The flags below are those of the last: roll out clips of a dataset with AR and other decoders, and measure passes,
seconds and quality. OUT gets results.csv, results.json, results.md, results.tex, figures/ (SVG, PDF), report.html,
clips.json (which clips, which were skipped and why) and decodes/ (a bench: every decode's tokens and numbers). About
how long it will take is told before decoding begins. The same command resumes where it stopped; more clips, decoders
or windows may be asked for. Frames are compared as arrays: predicted ones straight from
the tokens, real ones resized and cropped as the model sees them; no video codec comes between.
"""

EXAMPLES = """examples:
  vidjacobi eval realestate10k --data RealEstate10K --split test --clips 150
  vidjacobi eval realestate10k --data RealEstate10K --decoders sjd,mc_sjd,pathwise --windows 16,32,64,128
  vidjacobi eval realestate10k --data out/demo --config quick --out out/eval
"""


def parser() -> ArgumentParser:
    """Arguments of an evaluation on a dataset; what is not given keeps the configuration's value."""
    made = options.new_parser("eval", TEXT, EXAMPLES)
    add = made.add_argument
    add("dataset", nargs="?", metavar="DATASET", help=options.LAYOUTS)
    add("settings", nargs="*", metavar="KEY=VALUE", help="any setting of the configuration")
    add("--data", metavar="DIR", help="the dataset's folder (required)")
    add("--config", default="paper", help="paper, quick or a YAML path (paper)")
    options.add_out(add, "out/eval")
    options.add_other_versions(add)
    add("--videos", type=options.whole, metavar="N", help="clips that the report plays (6)")
    _add_clips(made)
    _add_decoding(made)
    add_network(made)
    return made


def _add_clips(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("clips").add_argument
    options.add_clip_choice(add)
    add("--clips", type=options.whole, metavar="N", help="how many, at most (150)")
    add("--start", type=options.whole, metavar="N", help="first frame (0)")
    options.add_context(add)
    options.add_frames(add)
    options.add_reader(add)


def _add_decoding(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("decoding").add_argument
    options.add_model(add)
    add("--decoders", type=options.listed, metavar="A,B", help="see `vidjacobi decoders`; ar always runs")
    add("--windows", type=options.wholes, metavar="N,M", help="positions per pass")
    options.add_sampling(add)
    add("--workers", type=options.whole, metavar="N", help="processes; latencies mean most with one (1)")
    options.add_device(add)
    options.add_dtype(add)
    shown = "predicted frames, or the context too (pred)"
    add("--fvd-frames", dest="shown", choices=("pred", "all"), help=shown)


def add_network(parser: ArgumentParser) -> None:
    """The flags of the network whose features FVD compares."""
    add = parser.add_argument_group("distance").add_argument
    add("--network", metavar="NAME", help="i3d (FVD), pytorchvideo's pv_slow_r50 ..., or vjepa2 (i3d)")
    weights = (
        "its weights, of vjepa2 a folder; a TorchScript file is a program: only one you trust (i3d's are found, "
        "see eval setup)"
    )
    add("--weights", metavar="PATH", help=weights)
    resize = "to a square: squash (TF's way), or short side and crop"
    add("--resize", choices=("squash", "short_side"), help=resize)
    borders = (
        "what SSIM averages: the whole map of mirrored frames, or without 5 pixels at the borders (mirrored)"
    )
    add("--ssim-borders", choices=("mirrored", "valid"), help=borders)
    add("--draws", type=options.whole, metavar="N", help="resamplings of the bootstrap (1000)")


def run(args: Namespace) -> dict[str, Any]:
    """Evaluate; the lines of the results table. Raises VidjacobiError."""
    if args.dataset is None:
        raise InvalidArgument(
            "eval needs a dataset, or `setup`, `fvd`, `actions`, `pictures` or `policies`: `vidjacobi eval --help` "
            "explains them"
        )
    from vidjacobi.bench.running import print_progress
    from vidjacobi.datasets import DATASETS
    from vidjacobi.eval.results import flat
    from vidjacobi.eval.run import PAGE, TEXT, evaluate
    from vidjacobi.eval.settings import load_eval
    from vidjacobi.registry import suggest

    if args.dataset not in DATASETS:
        known = ["setup", "fvd", "actions", "pictures", "policies", *DATASETS]
        raise InvalidArgument(
            f"unknown word {args.dataset!r}{suggest(args.dataset, known)}. There are: {', '.join(known)}"
        )
    config = load_eval(args.config, vars(args), args.settings)
    out = Path(args.out)
    lines = evaluate(config, out, print_progress)
    print((out / TEXT).read_text(encoding="utf-8"))
    print(f"{out / PAGE}: open it in a browser")
    return {"out": str(out), "results": [flat(line) for line in lines]}
