"""``vidjacobi eval``: what its words mean. ``setup``, ``fvd GENERATED REAL``, or a dataset's name."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidjacobi.cli.options import new_parser
from vidjacobi.errors import InvalidArgument
from vidjacobi.registry import suggest

EVAL = """Is it as good as AR, and how much faster?

  vidjacobi eval setup                     where FVD's network weights are, or how to get them
  vidjacobi eval fvd GENERATED REAL        FVD, PSNR and SSIM of two folders of videos or of frame folders
  vidjacobi eval realestate10k --data DIR  roll clips out with several decoders, measure, write tables and a report
"""

DATASET = """Roll out clips of a dataset with AR and other decoders, and measure passes, seconds and quality.

OUT gets results.csv, results.json, results.md and report.html, clips.json (which clips, which were skipped and why)
and decodes/ (a bench: every decode's tokens and numbers). The same command goes on where it stopped; more clips,
decoders or windows may be asked for. Frames are compared as arrays: predicted ones straight from the tokens, real
ones resized and cropped as the model sees them; no video codec comes between.
"""

DATASET_EXAMPLES = """examples:
  vidjacobi eval realestate10k --data RealEstate10K --split test --clips 150
  vidjacobi eval realestate10k --data RealEstate10K --decoders sjd,mc_sjd,pathwise --windows 16,32,64,128
  vidjacobi eval realestate10k --data out/demo --config quick --out out/eval
"""

FVD = """Compare two folders, clip by clip of the same name.

Each holds video files or folders of frames. FVD is computed with the I3D network of the TF-hub module on 224x224
frames, from arrays; video files bring their codec's losses along on both sides, frame folders do not.
"""

FVD_EXAMPLES = """examples:
  vidjacobi eval fvd mine/ real/
  vidjacobi eval fvd mine/ real/ --first 9 --frames 24 --cache features/ --out fvd.json
"""


def listed(text: str) -> list[str]:
    """Words apart by commas."""
    return [word for word in text.split(",") if word]


def numbered(text: str) -> list[int]:
    """Whole numbers apart by commas."""
    return [int(word) for word in listed(text)]


def add_network(parser: ArgumentParser) -> None:
    """Options of the feature network."""
    group = parser.add_argument_group("distance")
    group.add_argument("--network", metavar="NAME", help="i3d (FVD), or pytorchvideo's pv_slow_r50 ... (i3d)")
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="its weights; a TorchScript file is a program: only one you trust (found by itself for i3d, see setup)",
    )
    group.add_argument(
        "--resize",
        choices=("squash", "short_side"),
        help="to a square: squash (TF's way), or short side and crop",
    )
    group.add_argument("--draws", type=int, metavar="N", help="of the bootstrap (1000)")


def dataset_parser(name: str) -> ArgumentParser:
    """Arguments of an evaluation on a dataset."""
    parser = new_parser(f"eval {name}", DATASET, DATASET_EXAMPLES)
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="the dataset's folder")
    add("--config", default="paper", help="paper, quick or a YAML path (paper)")
    add("--out", default="out/eval", metavar="DIR", help="folder for the results (out/eval)")
    which = parser.add_argument_group("clips")
    which.add_argument("--split", metavar="NAME", help="train, test ... (all)")
    which.add_argument("--camera", metavar="NAME", help="of a dataset with several")
    which.add_argument("--clips", type=int, metavar="N", help="how many, at most (150)")
    which.add_argument(
        "--clip-list", metavar="FILE", help="ids to take, one a line: `id [start [stride]]`, or JSON"
    )
    which.add_argument("--stride", type=int, metavar="N", help="take every N-th frame (1)")
    which.add_argument("--start", type=int, metavar="N", help="first frame (0)")
    which.add_argument("--context", type=int, metavar="N", help="frames given: 1 + 8k (9)")
    which.add_argument("--frames", type=int, metavar="N", help="frames predicted (24)")
    how = parser.add_argument_group("decoding")
    how.add_argument(
        "--model", metavar="NAME", help="nano, micro, a checkpoint folder or a repository (nano)"
    )
    how.add_argument(
        "--tokenizer", metavar="NAME", help="video tokenizer's folder or repository, if not beside it"
    )
    how.add_argument(
        "--decoders", type=listed, metavar="A,B", help="see `vidjacobi decoders`; ar always runs"
    )
    how.add_argument("--windows", type=numbered, metavar="N,M", help="positions per pass")
    how.add_argument("--seed", type=int, metavar="S")
    how.add_argument("--temperature", type=float, metavar="T")
    how.add_argument("--top-p", type=float, metavar="P")
    how.add_argument("--workers", type=int, metavar="N", help="processes; latencies mean most with one (1)")
    how.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    how.add_argument("--dtype", metavar="NAME", help="bfloat16, float32, float64 or auto")
    add_network(parser)
    how.add_argument(
        "--fvd-frames",
        dest="shown",
        choices=("pred", "all"),
        help="predicted frames, or the context too (pred)",
    )
    parser.add_argument("--videos", type=int, metavar="N", help="clips that the report plays (6)")
    return parser


def fvd_parser() -> ArgumentParser:
    """Arguments of ``eval fvd``."""
    parser = new_parser("eval fvd", FVD, FVD_EXAMPLES)
    parser.add_argument("generated", metavar="GENERATED", type=Path)
    parser.add_argument("real", metavar="REAL", type=Path)
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="first frame; 9 leaves 9 of context out (0)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="so many frames (all that follow)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of the floor's halves and the bootstrap (0)"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:N or auto")
    add_network(parser)
    parser.set_defaults(network="i3d", resize="squash", draws=1000)
    parser.add_argument(
        "--cache", metavar="DIR", type=Path, help="keep features here, so that none is computed twice"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the record as JSON")
    return parser


def setup_parser() -> ArgumentParser:
    """Arguments of ``eval setup``."""
    parser = new_parser("eval setup", "Where the weights of FVD's network are, or how to get them.")
    parser.add_argument("--weights", metavar="FILE", type=Path, help="look at this file")
    return parser


def run(words: Sequence[str]) -> dict[str, Any] | None:
    """Parse and run; what is returned is the command's last line, None where only help was wanted."""
    if not words or words[0] in {"-h", "--help"}:
        print(EVAL, end="")
        return None
    name, rest = words[0], list(words[1:])
    if name == "setup":
        return run_setup(setup_parser().parse_args(rest))
    if name == "fvd":
        return run_fvd(fvd_parser().parse_args(rest))
    from vidjacobi.datasets import DATASETS

    if name not in DATASETS:
        known = ["setup", "fvd", *DATASETS]
        raise InvalidArgument(f"unknown word {name!r}{suggest(name, known)}. There are: {', '.join(known)}")
    return run_dataset(name, dataset_parser(name).parse_args(rest))


def run_setup(args: Namespace) -> dict[str, Any]:
    """``vidjacobi eval setup``. Raises BadCheckpoint, which says what to do, where there are no weights."""
    from vidjacobi.eval import i3d_weights
    from vidjacobi.eval.frame_metrics import lpips_missing

    path = args.weights or i3d_weights.find_installed()
    found = i3d_weights.load(path)
    print(f"FVD: {path} ({found.format}, sha256 {found.sha256})")
    print(f"LPIPS: {lpips_missing() or 'its trunk is there'}")
    return {"weights": str(path), "format": found.format, "sha256": found.sha256}


def run_fvd(args: Namespace) -> dict[str, Any]:
    """``vidjacobi eval fvd``."""
    from tqdm import tqdm

    from vidjacobi.eval.features import load_extractor
    from vidjacobi.eval.folder_pair import Options, measure
    from vidjacobi.output.atomic import write_json
    from vidjacobi.runtime import choose

    weights = Path(args.weights) if args.weights else None
    extractor = load_extractor(args.network, weights, args.resize, choose(args.device, "auto").device)
    options = Options(args.first, args.frames, args.cache, draws=args.draws, seed=args.seed)
    with tqdm(desc="clips", unit="clip", disable=None) as bar:

        def observe(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        record = measure(args.generated, args.real, extractor, options, observe)
    if args.out:
        write_json(args.out, record)
    print("\n".join(describe(record)))
    return record


def describe(record: Mapping[str, Any]) -> list[str]:
    """A record of two folders, for people."""
    protocol, spread, frames = record["protocol"], record["bootstrap"], record["per_frame"]
    lines = [
        f"{record['metric']} {record['value']:.2f}, {record['clips']} clips of {protocol['frames']} frames, "
        f"resize {protocol['resize'].split(':')[0]}, weights sha256 {protocol['weights_sha256'][:12]}...",
        f"  standard deviation over resampled clips {spread['std']:.2f}",
    ]
    if record["floor"]:
        base = record["floor"]
        lines.append(
            f"  floor {base['mean']:.2f} +- {base['std']:.2f}: two disjoint halves of the real clips, "
            f"{base['clips_per_half']} each"
        )
    if frames:
        psnr = "inf" if frames["psnr"] is None else f"{frames['psnr']:.2f}"
        same = frames["identical_frames"]
        lines.append(
            f"  PSNR {psnr} dB, SSIM {frames['ssim']:.4f}" + (f", {same} identical frames" if same else "")
        )
    return lines + [f"  {text}" for text in (*record["warnings"], *record["notes"])]


def run_dataset(name: str, args: Namespace) -> dict[str, Any]:
    """``vidjacobi eval DATASET``."""
    from vidjacobi.eval.results import flat
    from vidjacobi.eval.run import PAGE, TEXT, evaluate
    from vidjacobi.eval.settings import load_eval

    config = load_eval(args.config, {**vars(args), "dataset": name})
    out = Path(args.out)
    lines = evaluate(config, out, tell)
    print((out / TEXT).read_text(encoding="utf-8"))
    print(f"{out / PAGE}: open it in a browser")
    return {"out": str(out), "results": [flat(line) for line in lines]}


def tell(line: str) -> None:
    """Progress, for people."""
    print(line, file=sys.stderr, flush=True)
