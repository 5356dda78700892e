"""``vidjacobi eval fvd``: compare two folders of videos or of frame folders."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidjacobi.cli import options
from vidjacobi.cli.eval import add_network
from vidjacobi.errors import number_of

TEXT = """Compare two folders, clip by clip of the same name.

Each holds video files or folders of frames. FVD is computed with the I3D network of the TF-hub module on 224x224
frames, from arrays; video files bring their codec's losses along on both sides, frame folders do not.
"""

TOLD = 50  # pairs of clips between two lines about what is left, where there is no progress bar

EXAMPLES = """examples:
  vidjacobi eval fvd mine/ real/
  vidjacobi eval fvd mine/ real/ --first 9 --frames 24 --cache features/ --out fvd.json
"""


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("eval fvd", TEXT, EXAMPLES)
    add = made.add_argument
    add("generated", metavar="GENERATED", type=Path)
    add("real", metavar="REAL", type=Path)
    add(
        "--first",
        type=options.whole,
        default=0,
        metavar="N",
        help="first frame; 9 leaves 9 of context out (0)",
    )
    add("--frames", type=options.whole, metavar="N", help="so many frames (all that follow)")
    add(
        "--seed",
        type=options.whole,
        default=0,
        metavar="S",
        help="of the floor's halves and the bootstrap (0)",
    )
    options.add_reader(add, "pyav")
    options.add_device(add, "auto")
    add_network(made)
    # these flags have no default of their own: `eval DATASET` takes it from its configuration
    made.set_defaults(network="i3d", resize="squash", draws=1000, ssim_borders="mirrored")
    cache = "keep features here, so that none is computed twice"
    add("--cache", metavar="DIR", type=options.place, help=cache)
    add("--out", metavar="FILE", type=options.place, help="write the record as JSON")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Measure and print; the record. Raises VidjacobiError."""
    from tqdm import tqdm

    from vidjacobi.bench.duration import Pace
    from vidjacobi.eval.features import load_extractor
    from vidjacobi.eval.folder_pair import ClipPair, Options, measure
    from vidjacobi.eval.pair_duration import forecast
    from vidjacobi.output.atomic import write_json
    from vidjacobi.runtime import choose

    weights = Path(args.weights) if args.weights else None
    extractor = load_extractor(args.network, weights, args.resize, choose(args.device, "auto").device)
    how = Options(
        *(args.first, args.frames, args.cache),
        draws=args.draws,
        seed=args.seed,
        reader=args.reader,
        ssim_borders=args.ssim_borders,
    )
    pace = Pace("pairs of clips")
    with tqdm(desc="clips", unit="clip", disable=None) as bar:

        def before(pairs: list[ClipPair]) -> None:
            nonlocal pace
            tqdm.write(str(forecast(pairs, extractor, how)), file=sys.stderr)
            pace = Pace("pairs of clips")  # without the seconds of the forecast

        def observe(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)
            # the first pair tells better how long the others will take; a bar goes on telling it
            if done == 1 or (bar.disable and done % TOLD == 0):
                told = f"{pace.left(done, total)}, then a bootstrap of {args.draws} draws"
                tqdm.write(told, file=sys.stderr)

        record = measure(args.generated, args.real, extractor, how, observe, before)
    if args.out:
        write_json(args.out, record)
    print("\n".join(describe(record)))
    return record


def describe(record: Mapping[str, Any]) -> list[str]:
    """The lines that are printed of a record."""
    protocol, spread, frames = record["protocol"], record["bootstrap"], record["per_frame"]
    lines = [
        f"{record['metric']} {record['value']:.2f}, {number_of(record['clips'], 'clip')} of "
        f"{number_of(protocol['frames'], 'frame')}, "
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
            f"  PSNR {psnr} dB, SSIM {frames['ssim']:.4f} (borders {frames['ssim_borders']})"
            + (f", {same} identical frames" if same else "")
        )
    return lines + [f"  {text}" for text in (*record["warnings"], *record["notes"])]
