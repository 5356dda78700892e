"""A contact sheet of rendered clips: a row of pictures for each seed.

python scripts/nano preview --kind tabletop --seeds 8 --out sheet.png
python scripts/nano preview --kind plain_room --first 7 --seeds 1 --frames 97
"""

import argparse
from collections.abc import Sequence

import torch
from PIL import Image

from scripts.nano.render.scenes import KINDS, SOFTNESS, render_clip
from vidjacobi.shapes import Frames


def write_sheet(rows: Sequence[Frames], path: str, gap: int = 4) -> None:
    """Write each clip of ``rows`` as one row of pictures (uint8 ``[T H W 3]``, all of one size)."""
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    shape = (len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = torch.full(shape, 255, dtype=torch.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = r * (height + gap), c * (width + gap)
            sheet[top : top + height, left : left + width] = picture
    Image.fromarray(sheet.numpy()).save(path)


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--kind", choices=KINDS, default=None, help="by default every seed draws its own")
    options.add_argument("--first", type=int, default=0, help="first seed")
    options.add_argument("--seeds", type=int, default=8, help="how many of them")
    options.add_argument("--frames", type=int, default=33)
    options.add_argument("--softness", type=float, default=SOFTNESS, help="of house and tabletop, 0 to 1")
    options.add_argument("--out", default="scenes.png")
    return options


def run(arguments: argparse.Namespace) -> None:
    """Render the seeds and write the sheet."""
    torch.set_num_threads(1)
    rows = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        clip = render_clip(seed, arguments.frames, kind=arguments.kind, softness=arguments.softness)
        rows.append(clip.frames[:: max(1, arguments.frames // 5)])
        print(f"seed {seed}: {clip.kind}, {clip.motion}", flush=True)
    write_sheet(rows, arguments.out)
