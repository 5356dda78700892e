#!/usr/bin/env bash
# videojedi 1.1.0 (the JEDi distance of two sets of videos): a set of features and the same features with the opposite
# sign are at distance 0, and two sets whose means differ can be.
#
# The kernel of its MMD is (x . y / f)^2 without a constant, so only the mean products E[x x^T] of the two sets are
# compared. x and -x have the same; so have a cloud around 0 and a pair of points on either side of it. A Frechet
# distance of the same sets is far from 0. With a constant of 1 in the kernel (KID's choice) both are seen.
# Seen: 0.0 for the two sets of opposite sign, whose Frechet distance is 4 |mean|^2 = 800.
# Exit status 0: as described; 1: no longer.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
# --no-deps leaves its video network out (torch, vjepa), which the distance does not need
"$folder/env/bin/pip" install -q --no-deps videojedi==1.1.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 \
  joblib==1.6.0 cloudpickle==3.1.3 threadpoolctl==3.8.0 narwhals==2.29.0
"$folder/env/bin/python" - <<'PYTHON'
import sysconfig
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

# the package's own file of the distance, without its __init__, which imports torch
path = Path(sysconfig.get_paths()["purelib"], "videojedi", "mmd_polynomial.py")
spec = spec_from_file_location("mmd_polynomial", path)
module = module_from_spec(spec)
spec.loader.exec_module(module)


def jedi(a, b, constant=0):
    """As JEDiMetric.compute_metric calls it."""
    return float(module.mmd_poly(a, b, degree=2, coef0=constant) * 100)


rng = np.random.default_rng(0)
features = 1.0 + rng.standard_normal((500, 200))  # 500 videos, 200 features
other = 1.0 + rng.standard_normal((500, 200))
print(f"another draw of the same distribution: {jedi(features, other):.6f}")
print(f"the same features with the opposite sign: {jedi(features, -features):.6f}")
print(f"the distance of their means, squared: {4 * np.square(features.mean(0)).sum():.1f}")
print(f"with a constant of 1 in the kernel: {jedi(features, -features, 1):.1f}")
assert jedi(features, -features) == 0.0 < jedi(features, other)
assert jedi(features, -features, 1) > 100 * jedi(features, other, 1)
print("as described: sets of opposite sign are at distance 0")
PYTHON
