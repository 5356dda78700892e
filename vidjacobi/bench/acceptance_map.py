"""Maps that show when each token was decided and how often it was redrafted, over the frames of these tokens."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Marks = Int[Tensor, "t h w"]

_CELL = 3.2  # width of a picture in inches
_HEAT = ("viridis", "inferno")
_TITLES = ("last frame of the latent frame", "pass that decided the token", "redrafts before that")
_OPACITY = 0.6


def acceptance_map(
    frames: Frames, decided_in: Marks, redrafted: Marks, stride_t: int, title: str
) -> "Figure":
    """A figure with a row for each predicted latent frame: its last frame, and two heat maps over this frame.

    Args:
        frames: the whole clip, context and prediction; its end may be cut off.
        decided_in: the pass that decided each token of the predicted latent frames, counted from 1.
        redrafted: how often the draft of each token had changed before.
        stride_t: frames for each latent frame, except the first, which stands for one frame.
        title: text above everything.

    Raises InvalidArgument where the maps have more latent frames than the clip.
    """
    # A Figure that is made directly has no window and no global state, unlike those of pyplot.
    from matplotlib.figure import Figure

    count, height, width = decided_in.shape
    last = last_frames(len(frames), count, stride_t)
    tall = _CELL * frames.shape[1] / frames.shape[2] + 0.25
    figure = Figure((3 * _CELL + 1.6, tall * count + 0.9), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(count, 3, squeeze=False)
    for row, number in enumerate(last):
        picture = frames[number].cpu().numpy()
        # Frame and maps have the same extent, in tokens, so that a token covers the pixels that it became.
        axes[row, 0].imshow(picture, extent=(0, width, height, 0))
        axes[row, 0].set_ylabel(f"frame {number}")
        grey = picture.mean(-1)
        for column, marks in enumerate((decided_in, redrafted)):
            axis = axes[row, column + 1]
            axis.imshow(grey, "gray", vmin=0, vmax=255, extent=(0, width, height, 0))
            # One scale for all rows, so that their colours can be compared.
            heat = axis.imshow(
                marks[row].cpu().numpy(),
                _HEAT[column],
                vmin=0,
                vmax=max(1, int(marks.max())),
                alpha=_OPACITY,
                interpolation="nearest",
                extent=(0, width, height, 0),
            )
            if row == 0:
                figure.colorbar(heat, ax=axes[:, column + 1], shrink=0.8, pad=0.02)
    for row, column in ((row, column) for row in range(count) for column in range(3)):
        axes[row, column].set_xticks([])
        axes[row, column].set_yticks([])
        if row == 0:
            axes[row, column].set_title(_TITLES[column], fontsize=10)
    return figure


def last_frames(frames: int, latents: int, stride_t: int) -> list[int]:
    """The number of the last frame of each of the clip's last ``latents`` latent frames."""
    # 33 frames with stride 8 are 5 latent frames, whose last frames are 0, 8, 16, 24 and 32.
    whole = 1 + -(-(frames - 1) // stride_t)
    if latents > whole:
        raise InvalidArgument(f"{number_of(frames, 'frame')} are {whole} latent frames, not {latents}")
    return [min(stride_t * index, frames - 1) for index in range(whole - latents, whole)]


def write_map(
    path: Path, frames: Frames, decided_in: Marks, redrafted: Marks, stride_t: int, title: str
) -> None:
    """Write an acceptance map as a PNG that appears whole or not at all. Raises BadOutput, InvalidArgument."""
    figure = acceptance_map(frames, decided_in, redrafted, stride_t, title)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100)
