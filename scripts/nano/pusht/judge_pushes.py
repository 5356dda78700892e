"""Judge nano-pusht open loop: held-out clips go on from 4 frames under their own actions, and poses are read off.

Bars (issue of nano-pusht): agent's median error <= 1 px after 8 steps of the simulator and <= 2 after 32, 90 % <= 4,
lost in <= 3 % of the frames; the T's residual <= 0.15 after 16 frames (32 steps), and its pose nearer to the truth
than a frozen T's. Controls: the actions of other clips, and the true frames through the tokenizer alone. Writes
``judged.json`` and ``rollouts.png`` (20 clips, true frames above predicted ones) into ``--out``.

    python scripts/nano judge-pusht                              # out/nano-pusht, 64 clips: about 6 minutes
    python scripts/nano judge-pusht --fvd 128 --clips 128        # FVD of frames 4 to 36 too
    python scripts/nano judge-pusht --chained 64                 # only: 64 frames under wandering points
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from scripts.nano.pusht.push_store import PushStore, load_store
from scripts.nano.pusht.pusht_sizes import CONTEXT, RUNS
from scripts.nano.pusht.record_pushes import STRIDE
from scripts.nano.render.preview import write_sheet
from vidjacobi.errors import BadInput
from vidjacobi.eval.policies.rollouts import PushRollouts, encoded, shown
from vidjacobi.eval.pusht_poses import (
    CORNERS,
    SIDE,
    Reading,
    coverage,
    read_pictures,
    to_world,
    track_pictures,
)
from vidjacobi.families.pusht import PushT, load
from vidjacobi.runtime import choose

PIXEL = SIDE / 64
AT = (1, 4, 8, 16, 32)  # predicted frames that are looked at
SHEET, COLUMNS = 20, 12
DRAWS = 2000  # of a bootstrap


def heldout_clips(store: PushStore, count: int, frames: int) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """(pictures ``[n f s s 3]``, actions, states) of the beginnings of held-out episodes. Raises BadInput."""
    if frames > store.states.shape[1] or count > len(store.states):
        raise BadInput(
            f"{count} clips of {frames} frames: there are {len(store.states)} episodes of {store.states.shape[1]}"
        )
    times = np.arange(frames)
    pictures = np.stack([store.frames(np.full_like(times, episode), times) for episode in range(count)])
    return pictures, torch.from_numpy(store.actions[:count, : frames - 1]), store.states[:count, :frames]


def read_clips(pictures: UInt8[np.ndarray, "n f s s 3"]) -> list[Reading]:
    """Agent and T in each frame of n clips, a reading for each time; the first is looked for, the others tracked."""
    found = [read_pictures(pictures[:, 0])]
    for time_ in range(1, pictures.shape[1]):
        found.append(track_pictures(pictures[:, time_], found[-1].tee))
    return found


def errors_at(readings: list[Reading], states: Float[np.ndarray, "n f 5"], ahead: int) -> dict[str, Any]:
    """Numbers of the frame ``ahead`` frames after the context, in pixels of a 64-pixel picture."""
    reading, truth = readings[ahead], states[:, CONTEXT - 1 + ahead]
    frozen = states[:, CONTEXT - 1, 2:]
    agent = np.linalg.norm(reading.agent - truth[:, :2], axis=1) / PIXEL
    tee, stayed = tee_error(reading.tee, truth[:, 2:]), tee_error(frozen, truth[:, 2:])
    moved = stayed > 1
    true_coverage, seen_coverage = (
        np.array([coverage(p) for p in poses]) for poses in (truth[:, 2:], reading.tee)
    )
    better = np.where(np.isnan(tee), np.nanmax(tee, initial=0.0), tee) - stayed
    return {
        "steps": ahead * STRIDE,
        "agent_median": float(np.nanmedian(agent)),
        "agent_p90": float(np.nanpercentile(agent, 90)),
        "agent_lost": float(reading.lost.mean()),
        "tee_mean": float(np.nanmean(tee)),
        "tee_median": float(np.nanmedian(tee)),
        "tee_frozen_mean": float(stayed.mean()),
        "tee_minus_frozen": interval(better),
        "tee_minus_frozen_where_it_moves": interval(better[moved]) if moved.any() else None,
        "residual_median": float(np.nanmedian(reading.residual)),
        "residual_p90": float(np.nanpercentile(reading.residual, 90)),
        "coverage_error": float(np.nanmean(np.abs(true_coverage - seen_coverage))),
    }


def tee_error(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean distance of the Ts' corners in pixels, so that angles count too."""
    pairs = zip(one, other, strict=True)
    return np.array(
        [np.linalg.norm(to_world(CORNERS, a) - to_world(CORNERS, b), axis=1).mean() / PIXEL for a, b in pairs]
    )


def interval(values: np.ndarray, seed: int = 0) -> list[float]:
    """Mean and the ends of its 95 % bootstrap interval: [low, mean, high]."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return [float(low), float(values.mean()), float(high)]


def lost_share(readings: list[Reading]) -> float:
    """Of all predicted frames."""
    return float(np.mean([reading.lost.mean() for reading in readings[1:]]))


def verdict(found: dict[str, Any]) -> dict[str, bool]:
    """Which bars are met."""
    own = {row["steps"]: row for row in found["true"]["at"]}
    met = {
        "agent median <= 1 px at 8 steps": own[8]["agent_median"] <= 1,
        "agent median <= 2 px at 32 steps": own[32]["agent_median"] <= 2,
        "agent p90 <= 4 px at 32 steps": own[32]["agent_p90"] <= 4,
        "agent lost in <= 3 % of the frames": found["true"]["lost"] <= 0.03,
        "residual <= 0.15 after 16 frames": own[32]["residual_median"] <= 0.15,
        "T nearer than a frozen one at 32 steps": own[32]["tee_minus_frozen"][2] < 0,
    }
    others = {row["steps"]: row for row in found["shuffled"]["at"]}
    met["other clips' actions are worse at 8 steps"] = others[8]["agent_median"] > 2 * own[8]["agent_median"]
    return {name: bool(value) for name, value in met.items()}


def judge_fvd(shown_of: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """FVD against the true frames, and paired intervals of the model's minus each control's."""
    from vidjacobi.eval.features import load_extractor
    from vidjacobi.eval.fvd import distance, floor, paired_difference

    extract = load_extractor()
    features = {
        name: torch.stack([extract(torch.from_numpy(clip[None]))[0] for clip in clips])
        for name, clips in {"real": truth, **shown_of}.items()
    }
    real = features.pop("real")
    found: dict[str, Any] = {name: distance(own, real).value for name, own in features.items()}
    for name in features.keys() - {"true"}:
        found[f"true_minus_{name}"] = list(paired_difference(features["true"], features[name], real))
    return {**found, "clips": len(truth), "floor_of_halves": floor(real).mean}


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", type=Path, default=Path("out/nano-pusht"))
    options.add_argument("--data", type=Path, default=RUNS / "data")
    options.add_argument("--clips", type=int, default=64)
    options.add_argument("--frames", type=int, default=max(AT), help="predicted frames")
    options.add_argument("--fvd", type=int, default=0, help="clips for FVD, 0 for none")
    options.add_argument("--chained", type=int, default=0, help="only chain so many frames, without a truth")
    options.add_argument("--decoder", default="pathwise")
    options.add_argument("--out", type=Path, default=Path("runs/nano-pusht/judged"))
    return options


def run(arguments: argparse.Namespace) -> None:
    """Judge one model."""
    torch.set_num_threads(1)
    family = load(arguments.model, choose("cpu", "float32"))
    if arguments.chained:
        print(json.dumps(judge_chained(family, arguments), indent=1))
        return
    frames = CONTEXT + arguments.frames
    pictures, actions, states = heldout_clips(load_store(arguments.data, "heldout"), arguments.clips, frames)
    tokens = encoded(family, pictures)
    told, clips = actions[:, : CONTEXT - 1], [f"clip-{number}" for number in range(len(tokens))]
    others = torch.roll(actions, len(actions) // 2, 0)
    found: dict[str, Any] = {"clips": arguments.clips}
    shown_of: dict[str, np.ndarray] = {}
    for name, given in (("true", actions), ("shuffled", others)):
        rollouts, begun = (
            PushRollouts(family, tokens[:, :CONTEXT], told, clips, arguments.decoder),
            time.time(),
        )
        rollouts.advance(given[:, CONTEXT - 1 :])
        seconds = time.time() - begun
        shown_of[name] = shown(family, rollouts.tokens)[:, CONTEXT - 1 :]
        readings = read_clips(shown_of[name])
        found[name] = {
            "at": [errors_at(readings, states, ahead) for ahead in AT if ahead <= arguments.frames],
            "lost": lost_share(readings),
            "passes_a_frame": rollouts.passes / arguments.frames,
            "seconds_a_frame_of_all_clips": seconds / arguments.frames,
        }
        print(name, json.dumps(found[name], indent=1), flush=True)
    found["one_clip"] = {name: speed_of(family, tokens[:4], actions[:4], name) for name in ("ar", "pathwise")}
    print(json.dumps(found["one_clip"]), flush=True)
    shown_of["tokenizer"] = shown(family, tokens)[:, CONTEXT - 1 :]
    found["tokenizer"] = {
        "at": [errors_at(read_clips(shown_of["tokenizer"]), states, ahead) for ahead in AT[:1]]
    }
    write_rollouts(pictures, shown_of["true"], arguments.out)
    if arguments.frames >= max(AT):
        found["bars"] = verdict(found)
        print("\n".join(f"{'met   ' if met else 'MISSED'} {name}" for name, met in found["bars"].items()))
    if arguments.fvd:
        shown_of["frozen"] = np.repeat(pictures[:, CONTEXT - 1 : CONTEXT], arguments.frames + 1, 1)
        count = arguments.fvd
        cut = {name: clips_[:count, 1:] for name, clips_ in shown_of.items()}
        found["fvd"] = judge_fvd(cut, pictures[:count, CONTEXT:])
        print(json.dumps(found["fvd"]), flush=True)
    (arguments.out / "judged.json").write_text(json.dumps(found, indent=2) + "\n")


def wander(
    frames: int, points: int, rng: np.random.Generator, pace: float = 20.0
) -> Float[torch.Tensor, "f k"]:
    """Actions of a point that goes to random places one after the other, ``pace`` units a step at most."""
    here, goal, found = rng.uniform(100, 412, 2), rng.uniform(100, 412, 2), []
    for _ in range(frames * points):
        way = goal - here
        if np.linalg.norm(way) < pace:
            goal = rng.uniform(100, 412, 2)
        here = here + way * min(1.0, pace / max(1e-9, float(np.linalg.norm(way))))
        found.append(here)
    return torch.tensor(np.stack(found), dtype=torch.float32).view(frames, -1)


def judge_chained(family: PushT, arguments: argparse.Namespace) -> dict[int, dict[str, float]]:
    """Whether long rollouts hold: the T's residual, and how often T and agent are not seen, after some frames."""
    contexts = np.load(arguments.model / "held_out_contexts.npy")[: arguments.clips].astype(np.int64)
    told = torch.from_numpy(np.load(arguments.model / "held_out_actions.npy")[: len(contexts), : CONTEXT - 1])
    points = family.network.spec.action_points
    given = torch.stack(
        [wander(arguments.chained, points, np.random.default_rng(clip)) for clip in range(len(contexts))]
    )
    clips = [f"chained-{number}" for number in range(len(contexts))]
    rollouts = PushRollouts(family, torch.from_numpy(contexts).flatten(2), told, clips, arguments.decoder)
    tokens, found = rollouts.advance(given), {}
    for frames in sorted({*AT, arguments.chained}):
        if frames <= arguments.chained:
            reading = read_pictures(shown(family, tokens[:, frames - 1 : frames])[:, 0])
            found[frames] = {
                "residual_median": float(np.nanmedian(reading.residual)),
                "residual_p90": float(np.nanpercentile(reading.residual, 90)),
                "no_tee": float(np.isnan(reading.residual).mean()),
                "agent_lost": float(reading.lost.mean()),
            }
    return found


def speed_of(family: PushT, tokens: torch.Tensor, actions: torch.Tensor, decoder: str) -> dict[str, float]:
    """Passes and seconds a frame, prefills and pixels included, of clips that are decoded one at a time."""
    frames, passes, begun = 0, 0.0, time.time()
    for number in range(len(tokens)):
        row = slice(number, number + 1)
        context, told = tokens[row, :CONTEXT], actions[row, : CONTEXT - 1]
        rollouts = PushRollouts(family, context, told, [f"clip-{number}"], decoder)
        new = rollouts.advance(actions[row, CONTEXT - 1 : CONTEXT + 7])
        shown(family, new)
        frames, passes = frames + new.shape[1], passes + rollouts.passes
    seconds = time.time() - begun
    return {
        "passes_a_frame": passes / frames,
        "seconds_a_frame": seconds / frames,
        "simulator_steps_a_second": STRIDE * frames / seconds,
    }


def write_rollouts(pictures: np.ndarray, predicted: np.ndarray, folder: Path) -> None:
    """``rollouts.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = np.linspace(0, predicted.shape[1] - 1, COLUMNS).astype(int)
    rows = []
    for clip in range(min(SHEET, len(predicted))):
        rows += [
            torch.from_numpy(pictures[clip, CONTEXT - 1 + columns]),
            torch.from_numpy(predicted[clip, columns]),
        ]
    write_sheet(rows, str(folder / "rollouts.png"))
