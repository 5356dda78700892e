#!/usr/bin/env bash
# cd-fvd 0.1.1 holds two formulas of the Frechet distance that disagree on the same features.
#
# What compute_fvd uses (FeatureStats) divides covariances by the number of videos n; frechet_distance in its folder of
# I3D, which is VideoGPT's, divides by n - 1, as pytorch-fid 0.3.0 and fvmd 1.0.0 do. All that is no difference of means
# is (n - 1) / n times as large in the first: 6 % less at 16 videos. So an FVD of few videos is lower in cd-fvd than
# elsewhere, and of a single video it is a number too (the covariance is 0), which looks like any other.
# Seen at 16 videos: 0.9375 = 15/16 between the two. Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.13.0 numpy==2.4.6 requests==2.34.2 tqdm==4.70.1 scipy==1.17.1
# --no-deps and a few of its dependencies: its two files of formulas need no torchvision
"$folder/env/bin/pip" install -q --no-deps cd-fvd==0.1.1
"$folder/env/bin/python" - <<'PYTHON'
import sys
import sysconfig
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import sqrtm

warnings.simplefilter("ignore")
package = types.ModuleType("cdfvd")  # without its __init__, which imports torchvision
package.__path__ = [str(Path(sysconfig.get_paths()["purelib"], "cdfvd"))]
sys.modules["cdfvd"] = package
from cdfvd.third_party.i3d.utils import frechet_distance
from cdfvd.utils.metric_utils import FeatureStats


def gathered(features):
    """Mean and covariance as compute_fvd gathers them."""
    stats = FeatureStats(capture_mean_cov=True)
    stats.append(features)
    return stats.get_mean_cov()


def from_stats(a, b):
    """The distance of these, as compute_fvd_from_stats computes it."""
    (m1, s1), (m2, s2) = gathered(a), gathered(b)
    return float(np.square(m1 - m2).sum() + np.real(np.trace(s1 + s2 - 2 * sqrtm(s2 @ s1))))


rng = np.random.default_rng(0)
for videos in (4, 16, 64):
    a, b = (rng.standard_normal((videos, 3)).astype(np.float32) for _ in range(2))
    a, b = a - a.mean(0), 3 * (b - b.mean(0))  # equal means, other spreads
    first, second = from_stats(a, b), float(frechet_distance(torch.from_numpy(a), torch.from_numpy(b)))
    share = (videos - 1) / videos
    print(f"{videos} videos: {first:.5f} and {second:.5f}, ratio {first / second:.4f}, (n - 1) / n is {share:.4f}")
    assert abs(first / second - share) < 1e-3
single = [rng.standard_normal((1, 3)).astype(np.float32) for _ in range(2)]
print(f"a single video each: {from_stats(*single):.4f}")
assert np.isfinite(from_stats(*single))
print("as described: the two formulas differ by (n - 1) / n")
PYTHON
