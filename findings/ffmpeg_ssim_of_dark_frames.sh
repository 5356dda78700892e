#!/usr/bin/env bash
# ffmpeg (imageio-ffmpeg 0.8.1), filter ssim: the constant that keeps dark places from counting is 64 times too small.
#
# SSIM adds C1 = (0.01 * 255)^2 to both sides of its comparison of means. The filter sums over blocks of 8x8 pixels
# instead of averaging, which makes the squares of sums 64^2 times as large, and scales C1 by 64 only. Where means are
# bright nothing is to be seen; in the dark a difference that nobody sees ends the score. So a night drive, or a robot
# before a black background, scores far worse than with scikit-image 0.26.0, and not by its noise: flat pictures, whose
# windows do not matter, differ as well.
# Seen: black against grey 3: 0.0112, where the definition and scikit-image say 0.4194; 200 against 203: both 0.9999.
# Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q imageio-ffmpeg==0.8.1 scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from skimage.metrics import structural_similarity

folder = Path(sys.argv[1])
C1 = (0.01 * 255) ** 2


def filtered(a, b):
    """What the filter says of two grey pictures."""
    inputs = []
    for name, picture in (("a", a), ("b", b)):
        (folder / name).write_bytes(picture.tobytes())
        inputs += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "64x64", "-i", str(folder / name)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *inputs, "-lavfi", "[0][1]ssim", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.search(r"SSIM .*All:(\S+)", said)[1])


for low, high in ((0, 3), (2, 6), (200, 203)):
    a, b = (np.full((64, 64), level, np.uint8) for level in (low, high))
    ours, theirs = (2 * low * high + C1) / (low**2 + high**2 + C1), filtered(a, b)
    smaller = (2 * low * high + C1 / 64) / (low**2 + high**2 + C1 / 64)
    other = structural_similarity(a, b)
    print(f"{low} against {high}: filter {theirs:.4f}, definition {ours:.4f}, scikit-image {other:.4f}, with C1 / 64 {smaller:.4f}")
    assert abs(other - ours) < 1e-6 and abs(theirs - smaller) < 2e-4
a, b = (np.full((64, 64), level, np.uint8) for level in (0, 3))
assert filtered(a, b) < 0.05
print("as described: in the dark the filter's score is not SSIM's")
PYTHON
