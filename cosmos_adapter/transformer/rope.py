"""The position of a token: 3-D rotary embedding, with YaRN, and the absolute sine/cosine embedding.

Row ``i`` of every table belongs to position ``i``. A begin-of-video token has row 0, with zero angles; rows
past the end of the grid have zero angles too. Angles are computed in float32 (float64 for a float64 model)
and cast to the model's dtype, as the official code does.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from cosmos_adapter.transformer.spec import ModelSpec


def axis_sizes(channels: int) -> tuple[int, int, int]:
    """How many of a head's ``channels`` belong to (t, h, w): h and w get ``channels // 6 * 2`` each, t the rest."""
    # 128 channels: 44 for t, 42 for h, 42 for w. All three are even, because channels are rotated in pairs.
    side = channels // 6 * 2
    return channels - 2 * side, side, side


def grid_indices(spec: ModelSpec) -> Int[Tensor, "3 p"]:
    """Latent coordinates (t, h, w) of the tokens of the grid, in raster order."""
    # A grid of 1 x 2 x 2 has t = 0 0 0 0, h = 0 0 1 1 and w = 0 1 0 1.
    axes = [torch.arange(size) for size in spec.video_latent_shape]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])


def inverse_frequencies(spec: ModelSpec, axis: int, dtype: torch.dtype) -> Float[Tensor, " c"]:
    """Radians for each latent step along one axis (0 t, 1 h, 2 w), after YaRN if the model uses it."""
    size = axis_sizes(spec.head_size)[axis]
    exponents = torch.arange(0, size, 2).to(dtype) / size
    frequencies = 1.0 / (spec.rope_theta**exponents)
    return _yarn(frequencies, spec, axis) if spec.apply_yarn else frequencies


def _yarn(frequencies: Float[Tensor, " c"], spec: ModelSpec, axis: int) -> Float[Tensor, " c"]:
    """Frequencies stretched for a larger grid than the one of the first training stage (YaRN, Peng et al. 2023).

    Slow frequencies are divided by ``yarn_scale`` and fast ones are kept, with a linear ramp in between. The official
    code uses the original height for both spatial axes and never applies YaRN's magnitude factor.
    """
    # A frequency that turns fewer than beta_slow times over the original length would meet angles that training
    # never showed, so it is stretched; one that turns more than beta_fast times has seen all angles, so it stays.
    # For t in 12B, with an original length of 3, beta_slow 1 and beta_fast 4, slow is 2.09 and fast is 8.38 radians
    # a step. The fastest frequency of all is 1, so every frequency of t is halved.
    yarn = spec.yarn
    original = yarn.original_shape[0 if axis == 0 else 1]
    slow = 2 * math.pi * yarn.beta_slow / original
    fast = 2 * math.pi * yarn.beta_fast / original
    kept = ((frequencies - slow) / (fast - slow)).clamp(0, 1)
    return frequencies * ((1 - kept) / yarn.scale + kept)


def rotary_angles(spec: ModelSpec, dtype: torch.dtype) -> Float[Tensor, "p c"]:
    """Angles in radians ``[table_rows, head_size / 2]``; the columns belong to t, then h, then w."""
    parts = [
        torch.outer(index.to(dtype), inverse_frequencies(spec, axis, dtype))
        for axis, index in enumerate(grid_indices(spec))
    ]
    return _place(torch.cat(parts, dim=1), spec)


def absolute_table(spec: ModelSpec) -> Float[Tensor, "p c"]:
    """The sine/cosine embedding ``[table_rows, dim]``, rounded to bfloat16 whatever the dtype of the model is."""
    parts = []
    for size, index in zip(axis_sizes(spec.dim), grid_indices(spec), strict=True):
        omega = 10000.0 ** (-torch.arange(size // 2, dtype=torch.float64) / (size / 2))
        angles = torch.outer(index.double(), omega)
        parts += [angles.sin(), angles.cos()]
    return _place(torch.cat(parts, dim=1), spec).bfloat16()


def _place(rows: Float[Tensor, "q c"], spec: ModelSpec) -> Float[Tensor, "p c"]:
    """A table for all positions: a row of zeros for each special token, the grid's rows, then rows of zeros."""
    after = spec.table_rows - spec.positions
    return torch.nn.functional.pad(rows, (0, 0, spec.prefix, after))


class PositionTables:
    """The tables of one model, made at the first use for each device and dtype.

    They are not buffers of the module: they are no part of a checkpoint, must not be rounded by ``.to(bfloat16)`` and
    back, and a model that is built on the meta device could not fill them.
    """

    def __init__(self, spec: ModelSpec):
        self.spec = spec
        self._made: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor | None]] = {}

    def _tables(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor | None]:
        key = (device, dtype)
        if key not in self._made:
            # Computed on the CPU, so that every device gets the same numbers.
            with torch.device("cpu"), torch.no_grad():
                angles = rotary_angles(self.spec, torch.float64 if dtype == torch.float64 else torch.float32)
                absolute = absolute_table(self.spec) if self.spec.apply_abs_pos_emb else None
            added = None if absolute is None else absolute.to(device, dtype)
            self._made[key] = (angles.cos().to(device, dtype), angles.sin().to(device, dtype), added)
        return self._made[key]

    def rows(
        self, positions: Int[Tensor, "b n"], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "b n half"], Float[Tensor, "b n half"], Float[Tensor, "b n c"] | None]:
        """(cos, sin, absolute embedding or None) of ``positions``, each 0 <= position < table_rows."""
        cos, sin, absolute = self._tables(positions.device, dtype)
        added = None if absolute is None else F.embedding(positions, absolute)
        return F.embedding(positions, cos), F.embedding(positions, sin), added

    def nbytes(self, device: torch.device, dtype: torch.dtype) -> int:
        """Bytes of all rows on ``device``."""
        return sum(table.nbytes for table in self._tables(device, dtype) if table is not None)


def spread(
    cos: Float[Tensor, "b n half"], sin: Float[Tensor, "b n half"]
) -> tuple[Float[Tensor, "b n 1 d"], Float[Tensor, "b n 1 d"]]:
    """What ``rotate`` multiplies each channel and its partner by: made once a pass, for all layers and heads."""
    return torch.cat([cos, cos], -1).unsqueeze(2), torch.cat([-sin, sin], -1).unsqueeze(2)


def rotate(
    x: Float[Tensor, "b n k d"], own: Float[Tensor, "b n 1 d"], partner: Float[Tensor, "b n 1 d"]
) -> Float[Tensor, "b n k d"]:
    """Rotate each pair of channels (c, c + d/2) of every head by angle c of its position, given by ``spread``."""
    # With d = 4 and angles a, b the vector (x0, x1, x2, x3) becomes (x0 cos a - x2 sin a, x1 cos b - x3 sin b,
    # x2 cos a + x0 sin a, x3 cos b + x1 sin b). A product of a query and a key then depends on the difference of
    # their positions only. Rolled by d/2 it is (x2, x3, x0, x1): the partners.
    return (x * own).add_(x.roll(int(x.shape[-1]) // 2, -1).mul_(partner))
