#!/usr/bin/env bash
# sewar 0.4.10: the MS-SSIM of a colour picture depends on the order of its channels.
#
# Its mean over 2x2 pixels between two scales is taken along the axis of the channels as well, so that from the second
# scale on neighbouring colours are mixed: noise that is opposite in red and in blue is partly averaged away if the two
# are neighbours, and not if green stands between them. SSIM of the same package, and MS-SSIM of one channel after the
# other, do not depend on the order. Pictures in RGB and in BGR (as OpenCV reads them) get different scores.
# Seen: 0.943 in RGB, 0.891 in BGR and 0.966 in GRB for the same pair. Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q sewar==0.4.10 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import itertools

import numpy as np
import sewar

rng = np.random.default_rng(0)
y, x = np.mgrid[:256, :256]
truth = np.stack([120 + 100 * np.sin(x / 7), 120 + 100 * np.cos(y / 9), (x * y // 97) % 256], -1).astype(np.uint8)
noise = rng.normal(0, 25, (256, 256))
changed = truth.astype(float)
changed[..., 0] += noise  # red
changed[..., 2] -= noise  # blue, the opposite
changed = changed.clip(0, 255).astype(np.uint8)

scores = {}
for order in itertools.permutations(range(3)):
    a, b = truth[..., order], changed[..., order]
    name = "".join("RGB"[channel] for channel in order)
    scores[name] = float(sewar.msssim(a, b))
    print(f"{name}: MS-SSIM {scores[name]:.4f}, SSIM {sewar.ssim(a, b)[0]:.4f}")
alone = [float(sewar.msssim(truth[..., [c]], changed[..., [c]])) for c in range(3)]
print(f"one channel after the other: mean {np.mean(alone):.4f}")
ssims = {round(float(sewar.ssim(truth[..., o], changed[..., o])[0]), 12) for o in itertools.permutations(range(3))}
assert len(ssims) == 1, "SSIM depends on the order too"
assert max(scores.values()) - min(scores.values()) > 0.03, "MS-SSIM no longer depends on the order"
print("as described: MS-SSIM depends on the order of the channels")
PYTHON
