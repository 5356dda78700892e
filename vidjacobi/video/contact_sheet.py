"""Contact sheets: some frames of a clip in one picture, with the context frames marked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Frames

Picture = UInt8[Tensor, "H W 3"]

_WIDTH = 1600  # pixels of the whole sheet, roughly
_SHAPE = 16 / 10  # width over height that a sheet should have
_GAP, _BORDER, _LABEL = 10, 5, 24
_NARROWEST = 110  # pixels that a cell needs for its label
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_CONTEXT, _PREDICTED = (230, 126, 0), (200, 200, 200)


def contact_sheet(frames: Frames, context: int, limit: int = 20) -> Image.Image:
    """A sheet of about `limit` frames at most, evenly chosen, in reading order and numbered from 0.

    The first `context` frames have an orange border and the word "context". The first and the last frame of both
    parts are always among the chosen ones. Raises InvalidArgument for no frames or a context outside of them.
    """
    total, channels = frames.shape[0], frames.shape[3]
    if not (0 <= context <= total and total > 0 and channels == 3):
        raise InvalidArgument(f"a sheet of {list(frames.shape)} frames with {context} context frames")
    return sheet_of({number: frames[number] for number in chosen_frames(total, context, limit)}, context)


def sheet_of(pictures: Mapping[int, Picture], context: int) -> Image.Image:
    """A contact sheet of chosen frames, given by their numbers in rising order."""
    height, width = next(iter(pictures.values())).shape[:2]
    columns = _columns(len(pictures), width / height)
    cell = max(_NARROWEST, (_WIDTH - _GAP) // columns - _GAP)
    # A very tall frame is limited by its height, so that one row never becomes longer than the sheet is wide.
    scale = min((cell - 2 * _BORDER) / width, _WIDTH / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    rows = -(-len(pictures) // columns)
    step = (cell + _GAP, size[1] + 2 * _BORDER + _LABEL + _GAP)
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), _PAPER)
    for place, (number, pixels) in enumerate(pictures.items()):
        corner = (_GAP + place % columns * step[0], _GAP + place // columns * step[1])
        picture = Image.fromarray(pixels.cpu().numpy()).resize(size, Image.Resampling.LANCZOS)
        _paste(sheet, picture, corner, number, number < context)
    return sheet


def write_sheet(path: str | Path, frames: Frames, context: int, limit: int = 20) -> None:
    """`contact_sheet` as a PNG that appears whole or not at all. Raises BadOutput, InvalidArgument."""
    save_sheet(path, contact_sheet(frames, context, limit))


def save_sheet(path: str | Path, sheet: Image.Image) -> None:
    """Write a sheet as a PNG that appears whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        sheet.save(partial, format="PNG")


def chosen_frames(total: int, context: int, limit: int) -> list[int]:
    """The numbers of the chosen frames, rising.

    The context and the prediction get parts of `limit` in proportion to their lengths, but at least two frames each.
    """
    # 9 of 33 frames are context and the limit is 20: round(20 * 9 / 33) = 5 of the context, 0 2 4 6 8, and 15 of the
    # prediction.
    if total <= limit:
        return list(range(total))
    predicted = total - context
    share = round(limit * context / total)
    for_context = min(context, max(2, min(share, limit - 2)))
    for_predicted = min(predicted, limit - for_context)
    return [*_evenly(0, context, for_context), *_evenly(context, total, for_predicted)]


def _evenly(start: int, stop: int, count: int) -> list[int]:
    return sorted({round(x) for x in np.linspace(start, stop - 1, count)}) if count > 0 else []


def _columns(count: int, aspect: float) -> int:
    """The number of columns whose grid comes nearest to the shape that a sheet should have."""

    def misfit(columns: int) -> float:
        rows = -(-count // columns)
        # How far the shape is off, as a log ratio, plus a smaller penalty for empty cells in the last row.
        return abs(np.log(columns * aspect / rows / _SHAPE)) + 0.2 * (columns * rows - count) / columns

    return min(range(1, min(count, _WIDTH // _NARROWEST) + 1), key=misfit)


def _paste(
    sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], number: int, is_context: bool
) -> None:
    draw = ImageDraw.Draw(sheet)
    x, y = corner
    right, bottom = x + picture.width + 2 * _BORDER, y + picture.height + 2 * _BORDER
    draw.rectangle((x, y, right - 1, bottom - 1), fill=_CONTEXT if is_context else _PREDICTED)
    sheet.paste(picture, (x + _BORDER, y + _BORDER))
    label = f"{number}  context" if is_context else str(number)
    draw.text((x + 2, bottom + 2), label, fill=_CONTEXT if is_context else _INK, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_LABEL - 6)
