"""Axis letters and the tensor types that recur. Shapes are checked in tests only (pytest's jaxtyping hook).

b clips · n positions of a window · v vocabulary · l cache slots read · p positions of a whole clip ·
t h w latent grid · T H W frames and pixels · c channels · k heads or kept entries · d head size
"""

from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Tokens = Int[Tensor, "b n"]  # token ids, 0 <= id < v
Positions = Int[Tensor, "b n"]  # raster indices (special tokens included)
Slots = Int[Tensor, "b n"]  # places in the cache
Visible = Bool[Tensor, "b n l"]  # True: this query may read this cache slot
Logits = Float[Tensor, "b n v"]
Probs = Float[Tensor, "b n v"]  # probabilities, rows sum to 1
Mask = Bool[Tensor, "b n"]
Counts = Int[Tensor, " b"]
RowIndex = Int[Tensor, " m"]  # some rows of a batch or cache
GridTokens = Int[Tensor, "b t h w"]
Pixels = Float[Tensor, "b c T H W"]  # [-1, 1] in front of the tokenizer, [0, 1] behind it
Frames = UInt8[Tensor, "T H W c"]  # one clip as read and as written
