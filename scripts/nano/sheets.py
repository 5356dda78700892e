"""Contact sheets: rows of pictures in one PNG, to look at what was rendered, reconstructed or predicted."""

from collections.abc import Sequence

import torch
from PIL import Image

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
