"""``vidjacobi eval setup``: where the weights of FVD's network are, or how to get them."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from vidjacobi.cli import options

TEXT = "Where the weights of FVD's network are, or how to get them."


def parser() -> ArgumentParser:
    """Arguments."""
    made = options.new_parser("eval setup", TEXT)
    made.add_argument("--weights", metavar="FILE", type=Path, help="look at this file")
    return made


def run(args: Namespace) -> dict[str, Any]:
    """Find and check the weights. Raises BadCheckpoint, which says what to do, where there are none."""
    from vidjacobi.eval import i3d_weights
    from vidjacobi.eval.frame_metrics import lpips_missing

    path = args.weights or i3d_weights.find_installed()
    found = i3d_weights.load(path)
    print(f"FVD: {path} ({found.format}, sha256 {found.sha256})")
    print(f"LPIPS: {lpips_missing() or 'its trunk is there'}")
    return {"weights": str(path), "format": found.format, "sha256": found.sha256}
