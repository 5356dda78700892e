#!/usr/bin/env bash
# transformers 5.23.0, V-JEPA 2: the last frame of a clip with an odd number of frames is not seen, without a word.
#
# The first convolution takes frames in pairs (tubelet_size 2) and leaves out what remains, so the features of 33 frames
# are those of the first 32, whatever the 33rd shows, and so are the classifier's logits. World models predict odd numbers of frames (1 + 4 k, as causal video tokenizers have them).
# Seen: bitwise equal features of two clips whose last frames are black and white. A single frame is doubled instead.
# Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q transformers==5.23.0 torch==2.13.0
"$folder/env/bin/python" - <<'PYTHON'
import warnings

import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification

warnings.simplefilter("error")  # a warning would end this
torch.manual_seed(0)
config = VJEPA2Config(
    patch_size=16, crop_size=32, frames_per_clip=16, hidden_size=24, num_attention_heads=2, num_hidden_layers=2,
    num_pooler_layers=1, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1,
)
network = VJEPA2ForVideoClassification(config).eval()
for weight in network.parameters():
    torch.nn.init.normal_(weight, std=0.2)
mean, std = (torch.tensor(values)[:, None, None] for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
clip = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8)


@torch.no_grad()
def logits(frames):
    pixels = ((frames / 255 - mean) / std)[None]  # as its video processor prepares them
    print(f"{len(frames)} frames, shown as {list(pixels.shape)}")
    return network(pixels).logits


black, white = clip.clone(), clip.clone()
black[8], white[8] = 0, 255
assert torch.equal(logits(black), logits(white)), "the ninth frame is seen"
assert torch.equal(logits(black), logits(clip[:8]))
seen = clip.clone()
seen[7] = 255 - seen[7]
assert not torch.allclose(logits(clip), logits(seen)), "the eighth should be"
print("as described: the ninth frame of nine is not seen")
PYTHON
