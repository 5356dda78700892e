"""``vidjacobi eval pictures``: from finished runs of pictures to a table of passes, seconds and distances."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from vidjacobi.bench.table import over_clips
from vidjacobi.errors import BadOutput, InvalidArgument, number_of
from vidjacobi.eval.distance_kinds import DISTANCES, FRECHET
from vidjacobi.eval.fvd import floor, paired_difference
from vidjacobi.eval.moments import check_finite
from vidjacobi.eval.pictures.networks import NETWORKS, LoadedNetwork, load_network
from vidjacobi.eval.pictures.report import FILES, write_results
from vidjacobi.eval.pictures.sets import AR, PictureSet, open_sets
from vidjacobi.output.atomic import replacing, replacing_folder, write_json
from vidjacobi.output.run_folder import RunFolder, removed_if_empty
from vidjacobi.provenance import file_sha256
from vidjacobi.registry import lookup
from vidjacobi.runtime import choose, describe_device, versions

SETTINGS = "eval_pictures.json"  # marks the folder: results.json lies in folders of other evaluations too
Tell = Callable[[str], None]
Features = Float[Tensor, "n f"]
Other = Float[Tensor, "m f"]


@dataclass(frozen=True)
class PictureEval:
    """An evaluation of pictures.

    Attributes:
        reference: a run of AR with another seed, or a folder of real pictures.
        folders: of runs over the same pictures, AR's among them.
        network: key of ``vidjacobi.eval.pictures.networks.NETWORKS``.
        weights: of the network.
        cache: folder that keeps features of sets that were seen; None: nothing is kept.
        draws, seed: of the bootstrap and of the floor's halves.
        device: as for ``vidjacobi.load``.
    """

    reference: Path
    folders: tuple[Path, ...]
    network: str = "inception"
    weights: Path | None = None
    cache: Path | None = None
    draws: int = 1000
    seed: int = 0
    device: str = "auto"


def judge(config: PictureEval, out: Path, overwrite: bool, tell: Tell) -> dict[str, Any]:
    """Everything; returns the results. ``out`` is made whole or not at all.

    Raises InvalidArgument, BadInput, BadCheckpoint, and BadOutput where ``out`` exists (with ``overwrite``: where it
    is not ours, or holds more than ours).
    """
    RunFolder(out, "evaluation of pictures", SETTINGS).claim(overwrite)
    _check_nothing_is_lost(out, config.cache)
    if config.draws < 2:
        raise InvalidArgument(f"a bootstrap needs at least 2 draws, not {config.draws}")
    with ExitStack() as stack:
        # before hours of features: whether there is room for what comes of them
        for folder in (out.parent, *([config.cache] if config.cache else [])):
            stack.enter_context(removed_if_empty(folder))
            RunFolder(folder, "evaluation of pictures", SETTINGS).create()
        results, runs = _judged(config, tell)
        with replacing_folder(out) as made:
            write_json(made / SETTINGS, results["settings"])
            write_results(made, results, runs)
    return results


def _check_nothing_is_lost(out: Path, cache: Path | None) -> None:
    """Raise BadOutput where more would go than an earlier evaluation: ``out`` is replaced as a whole."""
    if out.is_dir() and (foreign := {path.name for path in out.iterdir()} - {SETTINGS, *FILES}):
        raise BadOutput(
            f"{out} holds something else too ({min(foreign)}), which would go: give another --out"
        )
    if cache and out.resolve() in (cache.resolve(), *cache.resolve().parents):
        raise BadOutput(
            f"--cache {cache} lies in --out {out}, which is replaced as a whole: name another place"
        )


def _judged(config: PictureEval, tell: Tell) -> tuple[dict[str, Any], list[PictureSet]]:
    kind = lookup("network of pictures", config.network, NETWORKS)
    base, runs, notes = open_sets(config.reference, config.folders)
    device = choose(config.device, "auto").device
    loaded = load_network(config.network, config.weights, device)
    label = kind.other_label if loaded.other else kind.label
    protocol = {
        "distance": label,
        "network": kind.source,
        "weights_sha256": loaded.sha256,
        **({"config_sha256": loaded.config_sha256} if loaded.config_sha256 else {}),
        "resize": kind.resize,
        "dtype": "float32",
        **DISTANCES[FRECHET].facts,
    }
    notes += [loaded.other] if loaded.other else []
    for note in notes:
        tell(f"note: {note}")
    features = {}
    for one in (base, *runs):
        features[id(one)] = features_of(one, loaded, protocol, device, config.cache, tell)
        check_finite(features[id(one)], one.name)
    alike = same_pictures(base, runs, features)
    for note in alike:
        tell(f"note: {note}")
    real = features[id(base)]
    ar = runs[0] if runs[0].decoder == AR else None
    lines = []
    for run in runs:
        against = None if ar in (None, run) else features[id(ar)]
        tell(f"{run.name}: {label}{'' if against is None else ', and its interval'}")
        line = line_of(run, ar) | distances(features[id(run)], real, against, config, same_names(base, run))
        lines.append(line)
    count, others = len(runs[0].files), len(base.files)
    return {
        "lines": lines,
        "label": label,
        "reference": reference_of(base),
        "floor": asdict(floor(real, config.seed)) if others >= 4 else None,
        "pictures": count,
        "warnings": warnings_of(min(count, others), real.shape[1]) + notes + alike,
        "protocol": {**protocol, "pictures": count, "reference_pictures": others, "seed": config.seed},
        "settings": json.loads(json.dumps(asdict(config), default=str)),
        "sampled": {key: runs[0].settings[key] for key in ("config", "sampling")} if runs[0].settings else {},
        "device": describe_device(device),
        "versions": versions(),
    }, runs


def features_of(
    one: PictureSet,
    loaded: LoadedNetwork,
    protocol: Mapping[str, Any],
    device: torch.device,
    cache: Path | None,
    tell: Tell,
) -> Features:
    """Features (float32, on the CPU) of a set, picture by picture, so that none depends on its neighbours.

    Raises BadInput for a damaged picture, BadOutput where the cache cannot be written.
    """
    path = None if cache is None else cache / f"{key_of(one, protocol)}.npz"
    if path is not None and path.exists():
        if (kept := _kept(path, len(one.files))) is not None:
            return kept
        tell(f"note: {path}: damaged, so features of {one.name} are computed again")
    rows = []
    # TF32 convolutions would make the features of a GPU differ from those of a CPU in the third digit
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for picture in tqdm(one.pictures(), one.name, len(one.files), unit="picture", disable=None):
            rows.append(loaded.network(picture[None].to(device))[0].cpu())
    found = torch.stack(rows)
    if path is not None:
        with replacing(path) as unfinished:
            np.savez(unfinished, features=found.numpy())
    return found


def key_of(one: PictureSet, protocol: Mapping[str, Any]) -> str:
    """Of the features of a set: it changes with the protocol and with any picture's bytes."""
    total = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode())
    for file in one.files.values():
        total.update(bytes.fromhex(file_sha256(file)))
    return total.hexdigest()[:40]


def _kept(path: Path, count: int) -> Features | None:
    """Features of a set that was seen before; None where the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = torch.from_numpy(stored["features"])
    except Exception:  # damaged bytes make zip, zlib and numpy raise nearly anything; they are computed again
        return None
    whole = found.ndim == 2 and len(found) == count and found.dtype == torch.float32
    return found if whole and found.isfinite().all() else None


def line_of(run: PictureSet, ar: PictureSet | None) -> dict[str, Any]:
    """What a run cost, and how many of its pictures are AR's very own (of the same seed)."""
    assert run.settings is not None
    mine, decoder = [*run.costs.values()], run.settings["decoder"]
    passes = over_clips((one.prompt, one.new_tokens / one.nfe) for one in mine)
    assert passes is not None
    equal = None
    if ar is not None and ar.seed == run.seed:
        equal = fmean(one.tokens_sha256 == ar.costs[name].tokens_sha256 for name, one in run.costs.items())
    return {
        "run": run.name,
        "decoder": run.decoder,
        "window": None if run.decoder == AR else decoder["window"],
        "guarantee": decoder["guarantee"],
        "pictures": len(mine),
        "nfe": fmean(one.nfe for one in mine),
        "tokens_per_pass": {"mean": passes.mean, "low": passes.low, "high": passes.high},
        "seconds": fmean(one.seconds for one in mine),
        "ar_pictures": equal,
    }


def distances(
    mine: Features, real: Other, ar: Features | None, config: PictureEval, paired: bool
) -> dict[str, Any]:
    """The distance from the reference, and how much it exceeds AR's, with an interval where pictures are paired."""
    value = DISTANCES[FRECHET].value(mine, real)
    line: dict[str, Any] = {"distance": value, "above_ar": None}
    if ar is None:
        return line
    if paired:
        if torch.equal(mine, ar):  # so it is in every draw
            return line | {"above_ar": {"mean": 0.0, "low": 0.0, "high": 0.0}}
        shown = partial(tqdm, desc="bootstrap", unit="draw", disable=None, leave=False)
        low, middle, high = paired_difference(mine, ar, real, config.draws, config.seed, shown=shown)
        return line | {"above_ar": {"mean": middle, "low": low, "high": high}}
    return line | {
        "above_ar": {"mean": value - DISTANCES[FRECHET].value(ar, real), "low": None, "high": None}
    }


def same_names(base: PictureSet, run: PictureSet) -> bool:
    """Whether the reference is of the same prompts, picture by picture, so that draws take the same of all."""
    return base.settings is not None and [*base.files] == [*run.files]


def same_pictures(
    base: PictureSet, runs: Sequence[PictureSet], features: Mapping[int, Features]
) -> list[str]:
    """Pictures that are in two sets and should not be: equal features are those of equal pictures."""
    found, ar = [], runs[0]
    names = {row.numpy().tobytes(): name for row, name in zip(features[id(ar)], ar.files, strict=True)}
    real = {row.numpy().tobytes() for row in features[id(base)]}
    for run in runs:
        rows = [row.numpy().tobytes() for row in features[id(run)]]
        if there := sum(row in real for row in rows):
            found.append(
                f"WARNING: {there} of {number_of(len(rows), 'picture')} of {run.name} are in {base.name} too: its "
                "distance says less, or nothing"
            )
        swapped = [
            name
            for name, row in zip(run.files, rows, strict=True)
            if row in names and run.costs[name].tokens_sha256 != ar.costs[names[row]].tokens_sha256
        ]
        if swapped:
            found.append(
                f"WARNING: {number_of(len(swapped), 'picture')} of {run.name} look exactly as in {ar.name}, though "
                f"the tokens were others ({swapped[0]}): were files exchanged?"
            )
    return found


def reference_of(base: PictureSet) -> dict[str, Any]:
    """What the reference is."""
    if base.settings is None:
        return {"name": base.name, "kind": "a folder of pictures", "seed": None}
    return {"name": base.name, "kind": f"pictures of {base.decoder}", "seed": base.seed}


def warnings_of(pictures: int, features: int) -> list[str]:
    """What belongs to a distance of so few pictures."""
    if pictures > features:
        return []
    return [
        f"WARNING: only {number_of(pictures, 'picture')} for {features} features: the covariances are singular and "
        "the distance is biased upwards by far; compare it with the floor and with values at the same pictures only"
    ]
