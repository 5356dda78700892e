"""Render the sample clip that ships with vidjacobi.

python scripts/nano sample-clip                             # writes vidjacobi/assets/sample.mp4
"""

import argparse
from pathlib import Path

from scripts.nano.render.make_data import FIRST_SEED
from scripts.nano.render.plain_room import FPS
from scripts.nano.render.scenes import render_clip
from vidjacobi.video.clips import write_video

QUALITY = (
    12  # constant rate factor of H.264: finer than rollouts are written, because this clip is a model's input
)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--seed", type=int, default=FIRST_SEED["sample"] + 10)
    options.add_argument("--frames", type=int, default=65)
    options.add_argument("--out", type=Path, default=Path("vidjacobi/assets/sample.mp4"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Render and write it."""
    frames = render_clip(arguments.seed, arguments.frames, kind="house").frames
    write_video(arguments.out, frames, FPS, QUALITY)
    arguments.out.chmod(0o644)
    print(f"{arguments.out.stat().st_size:>12,} {arguments.out}")
