"""Render the sample clip that ships with vidjacobi.

python scripts/nano sample-clip                             # writes vidjacobi/assets/sample.mp4
"""

import argparse
from pathlib import Path

import av

from scripts.nano.render.make_data import FIRST_SEED
from scripts.nano.render.plain_room import FPS
from scripts.nano.render.scenes import render_clip
from vidjacobi.shapes import Frames


def write_video(frames: Frames, path: Path) -> None:
    """H.264 in an mp4 that browsers play, at the generator's frame rate and high quality."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=round(FPS), options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for picture in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


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
    write_video(render_clip(arguments.seed, arguments.frames, kind="house").frames, arguments.out)
    arguments.out.chmod(0o644)
    print(f"{arguments.out.stat().st_size:>12,} {arguments.out}")
