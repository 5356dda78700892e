"""When each token was decided and how often it was redrafted, drawn over the frames that the tokens became."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Int
from torch import Tensor

from vidjacobi.errors import InvalidArgument
from vidjacobi.output.atomic import replacing
from vidjacobi.shapes import Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Marks = Int[Tensor, "t h w"]

_CELL = 3.2  # inches of a picture's width
_HEAT = ("viridis", "inferno")
_TITLES = ("last frame of the latent frame", "pass that decided the token", "redrafts before that")
_OPACITY = 0.6


def acceptance_map(
    frames: Frames, decided_in: Marks, redrafted: Marks, stride_t: int, title: str
) -> "Figure":
    """One row per predicted latent frame: its last frame, and two heat maps over it.

    Args:
        frames: of the whole clip, context and prediction (its end may be trimmed).
        decided_in: pass that decided each token of the predicted latent frames, from 1.
        redrafted: how often its draft had changed before.
        stride_t: frames a latent frame stands for, the first one excepted.
        title: above everything.

    Raises InvalidArgument where the maps have more latent frames than the clip.
    """
    from matplotlib.figure import Figure  # of no backend: nothing is shown, only written

    count, height, width = decided_in.shape
    last = last_frames(len(frames), count, stride_t)
    tall = _CELL * frames.shape[1] / frames.shape[2] + 0.25
    figure = Figure((3 * _CELL + 1.6, tall * count + 0.9), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(count, 3, squeeze=False)
    for row, number in enumerate(last):
        picture = frames[number].cpu().numpy()
        axes[row, 0].imshow(picture, extent=(0, width, height, 0))
        axes[row, 0].set_ylabel(f"frame {number}")
        grey = picture.mean(-1)
        for column, marks in enumerate((decided_in, redrafted)):
            axis = axes[row, column + 1]
            axis.imshow(grey, "gray", vmin=0, vmax=255, extent=(0, width, height, 0))
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
    """Number of the last frame of each of the clip's last ``latents`` latent frames."""
    whole = 1 + -(-(frames - 1) // stride_t)
    if latents > whole:
        raise InvalidArgument(f"{frames} frames are {whole} latent frames, not {latents}")
    return [min(stride_t * index, frames - 1) for index in range(whole - latents, whole)]


def write_map(
    path: Path, frames: Frames, decided_in: Marks, redrafted: Marks, stride_t: int, title: str
) -> None:
    """``acceptance_map`` as a PNG that appears whole or not at all. Raises BadOutput, InvalidArgument."""
    figure = acceptance_map(frames, decided_in, redrafted, stride_t, title)
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100)
