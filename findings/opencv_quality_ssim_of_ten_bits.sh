#!/usr/bin/env bash
# OpenCV's quality module (opencv-contrib-python-headless 5.0.0.93): QualitySSIM takes 16-bit frames and measures them
# as if white were 255.
#
# SSIM's constants are (0.01 * white)^2 and (0.03 * white)^2. QualityPSNR has an argument for it, maxPixelValue;
# QualitySSIM has none, takes uint16 as it takes uint8, and keeps the constants of 8 bits. Frames of 10 bits, as from
# HDR or ProRes sources, so score lower than the same frames divided by 4, and lower than scikit-image 0.26.0 with
# data_range=1023 says: with the same noise, 0.77 instead of 0.87 on a natural picture.
# Seen, flat pictures of 0 against 12 out of 1023: 0.0432, where the definition and scikit-image say 0.4209; the same
# pictures as floats, 0 against 3 out of 255: 0.4194 from QualitySSIM too.
# Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q opencv-contrib-python-headless==5.0.0.93 scikit-image==0.26.0 numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import cv2
import numpy as np
from skimage.metrics import structural_similarity


def of_flat(low, high, white):
    """The definition for two flat pictures: only the means count."""
    c1 = (0.01 * white) ** 2
    return (2 * low * high + c1) / (low**2 + high**2 + c1)


deep = [np.full((64, 64), level, np.uint16) for level in (0, 12)]
usual = [np.full((64, 64), level, np.uint8) for level in (0, 3)]
found = cv2.quality.QualitySSIM_compute(*deep)[0][0]
eight = cv2.quality.QualitySSIM_compute(*usual)[0][0]
other = structural_similarity(*deep, data_range=1023)
print(f"0 against 12 of 10 bits: QualitySSIM {found:.4f}, definition {of_flat(0, 12, 1023):.4f}, scikit-image {other:.4f}")
print(f"0 against 3 of 8 bits:   QualitySSIM {eight:.4f}, definition {of_flat(0, 3, 255):.4f}")
assert abs(other - of_flat(0, 12, 1023)) < 1e-6
assert abs(eight - of_flat(0, 3, 255)) < 1e-4
assert abs(found - of_flat(0, 12, 255)) < 1e-4
print("as described: the constants are those of 8 bits")
PYTHON
