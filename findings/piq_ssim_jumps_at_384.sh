#!/usr/bin/env bash
# piq 0.8.0: the SSIM of a noisy picture jumps when its shorter side grows from 383 to 384 pixels.
#
# From 384 pixels on, ssim() first averages both pictures down to about 256 (2x2 pixels at 384 to 639), unless
# downsample=False is given. Fine noise is averaged away by that, so the same distortion scores much better on larger
# frames: a comparison of two resolutions compares two metrics, and a table of 480x640 rollouts cannot stand beside one
# of another package. pytorch-msssim 1.0.0, which has the same window and borders, has no such step.
# Seen: 0.146 at 383 rows and 0.441 at 384 of the same picture. Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
# --no-deps: its SSIM needs no torchvision
"$folder/env/bin/pip" install -q --no-deps piq==0.8.0 pytorch-msssim==1.0.0
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import sys
import sysconfig
import types
from pathlib import Path

import pytorch_msssim
import torch

package = types.ModuleType("piq")  # without its __init__, which imports torchvision
package.__path__ = [str(Path(sysconfig.get_paths()["purelib"], "piq"))]
sys.modules["piq"] = package
from piq.ssim import ssim

generator = torch.Generator().manual_seed(0)
y, x = torch.meshgrid(torch.arange(384.0), torch.arange(512.0), indexing="ij")
truth = torch.stack([120 + 60 * torch.sin(x / 40 + k) * torch.cos(y / 55) for k in range(3)])[None]
noisy = (truth + 20 * torch.randn(truth.shape, generator=generator)).clamp(0, 255)
scores = {}
for rows in (382, 383, 384):
    a, b = noisy[:, :, :rows], truth[:, :, :rows]
    scores[rows] = float(ssim(a, b, data_range=255.0))
    plain = float(ssim(a, b, data_range=255.0, downsample=False))
    other = float(pytorch_msssim.ssim(a, b, data_range=255))
    print(f"{rows} rows: piq {scores[rows]:.4f}, without its step {plain:.4f}, pytorch-msssim {other:.4f}")
    assert abs(plain - other) < 1e-3
assert abs(scores[383] - scores[382]) < 0.01 < 0.1 < scores[384] - scores[383]
print("as described: one row more, and the score jumps")
PYTHON
