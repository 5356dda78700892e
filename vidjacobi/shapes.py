"""Axis letters and the tensor types that recur. Shapes are checked in the tests only, by pytest's jaxtyping hook.

b clips · n positions of a window · v vocabulary · l cache slots read · p positions of a whole clip ·
t h w latent grid · T H W frames and pixels · c channels · k heads or kept entries · d head size
"""

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Tokens = Int[Tensor, "b n"]  # token ids, 0 <= id < v
Positions = Int[Tensor, "b n"]  # raster indices, the model's special tokens counted too
Slots = Int[Tensor, "b n"]  # places in the cache; vidjacobi.models.protocol explains them
Visible = Bool[Tensor, "b n l"]  # True where this input may read this cache slot
Logits = Float[Tensor, "b n v"]
Probs = Float[Tensor, "b n v"]  # each row sums to 1
Mask = Bool[Tensor, "b n"]
Counts = Int[Tensor, " b"]
RowIndex = Int[Tensor, " m"]  # indices of some rows of a batch or of a cache
GridTokens = Int[Tensor, "b t h w"]
Pixels = Float[Tensor, "b c T H W"]  # [-1, 1] into the tokenizer, [0, 1] out of it
Frames = UInt8[Tensor, "T H W c"]  # one clip as it is read from and written to files
