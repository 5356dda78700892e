"""Contact sheets: some frames of a clip in one picture, the context marked, the truth below what was predicted."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Frames

Picture = UInt8[Tensor, "H W 3"]
Truth = UInt8[Tensor, "n H W 3"]  # fewer frames than are predicted, maybe

_WIDTH = 1600  # pixels of the whole sheet, roughly
_SHAPE = 16 / 10  # width over height that a sheet should have
_GAP, _BORDER, _LABEL = 10, 5, 24
_COMPRESSION = 1  # of zlib: a fifth larger than at its own level, 6, in a quarter of the time
_NARROWEST = 110  # pixels that a cell needs for its label
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_CONTEXT, _PREDICTED, _TRUTH = (230, 126, 0), (200, 200, 200), (40, 140, 80)
_LEGEND = "above: predicted; below, framed in green: what really followed"


def contact_sheet(frames: Frames, context: int, limit: int = 20, truth: Truth | None = None) -> Image.Image:
    """A sheet of about `limit` frames at most, evenly chosen, in reading order and numbered from 0.

    The first `context` frames have an orange border and the word "context". The first and the last frame of both
    parts are always among the chosen ones. `truth` [n H W 3] are the frames that really followed the context, as many
    as are known; they are shown below the predicted ones. Raises InvalidArgument for no frames or a context outside
    of them.
    """
    total, channels = frames.shape[0], frames.shape[3]
    if not (0 <= context <= total and total > 0 and channels == 3):
        raise InvalidArgument(
            f"a sheet of {list(frames.shape)} frames with {number_of(context, 'context frame')}"
        )
    chosen = chosen_frames(total, context, limit)
    return sheet_of({k: frames[k] for k in chosen}, context, true_pictures(chosen, context, truth))


def true_pictures(chosen: Iterable[int], context: int, truth: Truth | None) -> dict[int, Picture]:
    """The true frames of the chosen numbers, where they are known: frame 0 of ``truth`` has number ``context``."""
    known = 0 if truth is None else len(truth)
    return {k: truth[k - context] for k in chosen if truth is not None and 0 <= k - context < known}


def sheet_of(
    pictures: Mapping[int, Picture],
    context: int,
    truth: Mapping[int, Picture] | None = None,
    labels: Mapping[int, str] | None = None,
) -> Image.Image:
    """A contact sheet of chosen frames, given by their numbers in rising order.

    ``truth`` holds, by the same numbers, the frames that really followed: each is put below the predicted one.
    ``labels``: what stands below a picture in place of its number, cut where it is wider than its cell.
    """
    below = truth or {}
    height, width = next(iter(pictures.values())).shape[:2]
    stacked = 2 if below else 1  # pictures that stand one above the other
    columns = _columns(len(pictures), width / height / stacked)
    cell = max(_NARROWEST, (_WIDTH - _GAP) // columns - _GAP)
    # A very tall frame is limited by its height, so that one row never becomes longer than the sheet is wide.
    scale = min((cell - 2 * _BORDER) / width, _WIDTH / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    numbers = list(pictures)
    rows = [numbers[at : at + columns] for at in range(0, len(numbers), columns)]
    # a row without any truth is less high
    heights = [
        (size[1] + 2 * _BORDER) * (2 if below.keys() & set(row) else 1) + _LABEL + _GAP for row in rows
    ]
    foot = _LABEL if below else 0
    sheet = Image.new("RGB", (columns * (cell + _GAP) + _GAP, sum(heights) + _GAP + foot), _PAPER)
    for place, number in enumerate(numbers):
        x, y = _GAP + place % columns * (cell + _GAP), _GAP + sum(heights[: place // columns])
        is_context = number < context
        bottom = _paste(sheet, pictures[number], size, (x, y), _CONTEXT if is_context else _PREDICTED)
        if number in below:
            bottom = _paste(sheet, below[number], size, (x, bottom), _TRUTH)
        label = f"{number}  context" if is_context else str(number)
        if labels:
            label = _cut(labels[number], cell - 4)
        _write(sheet, (x + 2, bottom + 2), label, _CONTEXT if is_context else _INK)
    if below:
        _write(sheet, (_GAP, sheet.height - _LABEL), _LEGEND, _INK)
    return sheet


def write_sheet(
    path: str | Path, frames: Frames, context: int, limit: int = 20, truth: Truth | None = None
) -> None:
    """`contact_sheet` as a PNG that appears whole or not at all. Raises BadOutput, InvalidArgument."""
    save_sheet(path, contact_sheet(frames, context, limit, truth))


def save_sheet(path: str | Path, sheet: Image.Image) -> None:
    """Write a sheet as a PNG that appears whole or not at all. Raises BadOutput."""
    with replacing(path) as partial:
        sheet.save(partial, format="PNG", compress_level=_COMPRESSION)


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
    sheet: Image.Image,
    pixels: Picture,
    size: tuple[int, int],
    corner: tuple[int, int],
    border: tuple[int, int, int],
) -> int:
    """Put a framed picture on the sheet; returns the first row of pixels below it."""
    x, y = corner
    picture = Image.fromarray(pixels.cpu().numpy()).resize(size, Image.Resampling.LANCZOS)
    right, bottom = x + picture.width + 2 * _BORDER, y + picture.height + 2 * _BORDER
    ImageDraw.Draw(sheet).rectangle((x, y, right - 1, bottom - 1), fill=border)
    sheet.paste(picture, (x + _BORDER, y + _BORDER))
    return bottom


def _write(sheet: Image.Image, corner: tuple[int, int], words: str, ink: tuple[int, int, int]) -> None:
    ImageDraw.Draw(sheet).text(corner, words, fill=ink, font=_font())


def _cut(words: str, width: int) -> str:
    """As much of a label as a width of pixels holds."""
    font = _font()
    while words and font.getlength(words) > width:
        words = words[:-2].rstrip() + "\u2026" if len(words) > 2 else ""
    return words


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=_LABEL - 6)
