"""Frechet distances of other packages on arrays of features, without their networks.

python scripts/tried_distances.py features.npz    # lines "SCORE {json}", for scripts/metric_conformance.py
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from metric_cases import read_cases

Formula = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Tried:
    """The formula of a package.

    Attributes:
        package: what is installed for it.
        measure: from the features of generated and real clips to a distance.
        ddof: what covariances are divided by, below the number of clips.
        root: how the root of the product of the covariances is computed, as the tables say it.
    """

    package: str
    measure: Formula
    ddof: int
    root: str


def ours(a: np.ndarray, b: np.ndarray) -> float:
    import torch

    from vidjacobi.eval.fvd import distance

    return distance(torch.from_numpy(a), torch.from_numpy(b)).value


def _numpys(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance as pytorch-fid takes them."""
    return a.astype(np.float64).mean(0), np.cov(a.astype(np.float64), rowvar=False)


def pytorch_fid(a: np.ndarray, b: np.ndarray) -> float:
    from pytorch_fid.fid_score import calculate_frechet_distance

    return float(calculate_frechet_distance(*_numpys(a), *_numpys(b)))  # its own arrays are float64 too


def clean_fid(a: np.ndarray, b: np.ndarray) -> float:
    from cleanfid.fid import fid_from_feats

    return float(fid_from_feats(a, b))


def torch_fidelity(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    both = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    return float(next(iter(fid_statistics_to_metric(*both, verbose=False).values())))


def torchmetrics(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = a.shape[1]

        def forward(self, features: "torch.Tensor") -> "torch.Tensor":
            return features

    metric = FrechetInceptionDistance(feature=Same())
    metric.update(torch.from_numpy(b), real=True)
    metric.update(torch.from_numpy(a), real=False)
    return float(metric.compute())


def piq(a: np.ndarray, b: np.ndarray) -> float:
    import torch
    from piq import FID

    return float(FID().compute_metric(torch.from_numpy(a), torch.from_numpy(b)))


def cd_fvd(a: np.ndarray, b: np.ndarray) -> float:
    """As its ``compute_fvd`` gathers features, without its network."""
    from cdfvd.fvd import FeatureStats, cdfvd

    both = [FeatureStats(capture_mean_cov=True) for _ in range(2)]
    for stats, features in zip(both, (a, b), strict=True):
        stats.append(features)
    return float(cdfvd.compute_fvd_from_stats(None, *both))


def cd_fvd_of_features(a: np.ndarray, b: np.ndarray) -> float:
    """The second formula in the same package, which is VideoGPT's."""
    import torch
    from cdfvd.third_party.i3d.utils import frechet_distance

    return float(frechet_distance(torch.from_numpy(a), torch.from_numpy(b)))


def fvmd(a: np.ndarray, b: np.ndarray) -> float:
    """Its file of formulas alone: the rest of the package imports a tracker."""
    folder = find_spec("fvmd").submodule_search_locations[0]  # type: ignore[union-attr]
    spec = spec_from_file_location("fvmd_formula", Path(folder, "frechet_distance.py"))
    module = module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return float(module.calculate_fd_given_vectors(a, b))


ALL = {
    "ours": Tried("vidjacobi", ours, 1, "singular values of X1 X2^T, float64"),
    "torchmetrics": Tried("torchmetrics", torchmetrics, 1, "eigenvalues of S1 S2, from raw sums"),
    "torch-fidelity": Tried("torch-fidelity", torch_fidelity, 1, "eigenvalues of S1 S2"),
    "pytorch-fid": Tried("pytorch-fid", pytorch_fid, 1, "scipy's sqrtm"),
    "clean-fid": Tried("clean-fid", clean_fid, 1, "scipy's sqrtm"),
    "piq": Tried("piq", piq, 1, "Newton-Schulz, to 1e-5"),
    "fvmd": Tried("fvmd", fvmd, 1, "scipy's sqrtm, 1e-5 added to the diagonals first"),
    "cd-fvd, `compute_fvd`": Tried("cd-fvd", cd_fvd, 0, "scipy's sqrtm, from raw sums"),
    "cd-fvd, `frechet_distance` (VideoGPT's)": Tried(
        "cd-fvd", cd_fvd_of_features, 1, "float32 SVD, 1e-10 cut off"
    ),
}


def main() -> None:
    """Measure all cases of a file with every formula."""
    warnings.simplefilter("ignore")
    for name, one in ALL.items():
        for case, a, b in read_cases(Path(sys.argv[1])):
            try:
                with contextlib.redirect_stdout(sys.stderr):  # packages print
                    found: float | str = one.measure(a, b)
            except Exception as error:  # packages raise anything
                found = f"{type(error).__name__}: {error}"[:120]
            print("SCORE " + json.dumps([name, case, found]), flush=True)


if __name__ == "__main__":
    main()
