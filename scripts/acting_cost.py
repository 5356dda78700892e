"""What a predicted step costs on nano-pusht: passes, CPU seconds of one thread, steps of the simulator a second.

    python scripts/acting_cost.py                          # nano-pusht, as it ships
    python scripts/acting_cost.py --model pusht:out/nano-pusht --write      # into docs/acting.md

Sessions go on from held-out frames, alone (one clip), with points that wander as the action of every step; decoders
take turns, clip by clip. 'one by one' decides a latent frame a step, as a policy needs it; 'two at once' has two
actions beforehand, as a planner has, and windows may reach into the next frame. Pixels and the slides of full grids
are included, the first prefill is not. A step of nano-pusht is two of the simulator.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import torch
from page_parts import write_part

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python knows only this folder
from scripts.nano.pusht.judge_pushes import wander
from vidjacobi import SamplingParams
from vidjacobi.families.opening import family_name, load_family
from vidjacobi.families.pusht import SAMPLING, PushT
from vidjacobi.models.codec import tokens_to_frames
from vidjacobi.session import Session

DECODERS = ("ar", "gs_sjd", "pathwise", "fast", "temporal")
STEPS, WARM, SIMULATED = (
    12,
    4,
    2,
)  # latent frames of a clip that are measured, and before; steps of the simulator each
GROUPS = {"one by one": 1, "two at once": 2}


@dataclass
class Cost:
    """Of the latent frames of one decoder: passes and CPU seconds a frame, clip by clip."""

    passes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)  # whether the tokens are AR's


def measure(
    family: PushT, context: torch.Tensor, known: torch.Tensor, cost: Cost, asked: dict
) -> torch.Tensor:
    """Step one clip with one decoder; its tokens."""
    group, clip = asked["group"], asked["clip"]
    points = family.network.spec.action_points
    actions = list(wander(WARM + STEPS, points, np.random.default_rng(clip)))
    session = Session(
        family.world(),
        family.tokenizer,
        context,
        decoder=asked["decoder"],
        window=None if asked["decoder"] == "ar" else asked["window"],
        sampling=SamplingParams(SAMPLING.temperature, SAMPLING.top_p, seed=clip),
        names=[f"clip {clip}"],
        condition=family.condition,
        context_actions=[list(known)],
    )
    passes, began = 0, 0.0
    for first in range(0, WARM + STEPS, group):
        if first == WARM:
            passes, began = 0, time.process_time()
        part = actions[first : first + group]
        step = session.step([part if group > 1 else part[0]], latents=group)
        passes += step.nfe[0]
    cost.passes.append(passes / STEPS)
    cost.seconds.append((time.process_time() - began) / STEPS)
    return session.tokens[0]


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="nano-pusht", help="a model of the family pusht")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--write", action="store_true", help="write the table into docs/acting.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    family = load_family(args.model, "cpu", args.dtype)
    folder = Path(family_name(args.model).weights)
    contexts = torch.from_numpy(np.load(folder / "held_out_contexts.npy").astype(np.int64))
    actions = torch.from_numpy(np.load(folder / "held_out_actions.npy"))
    given = contexts.shape[1]
    costs = {(way, decoder): Cost() for way in GROUPS for decoder in DECODERS}
    for clip in range(args.clips):
        frames = tokens_to_frames(contexts[clip], family.tokenizer)
        for way, group in GROUPS.items():
            wanted = None
            for decoder in DECODERS:
                asked = {"decoder": decoder, "window": args.window, "group": group, "clip": clip}
                cost = costs[way, decoder]
                tokens = measure(family, frames, actions[clip, : given - 1], cost, asked)
                wanted = tokens if wanted is None else wanted
                cost.same.append(torch.equal(tokens, wanted))
    lines = [
        "| decoder | actions | passes a frame | ms a frame | of AR's | simulator's steps a second | AR's tokens |",
        "|---|---|---|---|---|---|---|",
    ]
    for (way, decoder), cost in costs.items():
        ratio = median(a / b for a, b in zip(cost.seconds, costs[way, "ar"].seconds, strict=True))
        seconds = median(cost.seconds)
        lines.append(
            f"| `{decoder}` | {way} | {np.mean(cost.passes):.1f} | {1e3 * seconds:.0f} | {ratio:.2f} | "
            f"{SIMULATED / seconds:.0f} | {sum(cost.same)} of {len(cost.same)} clips |"
        )
    table = "\n".join(lines)
    print(table)
    if args.write:
        write_part("acting_cost.py", table, "acting.md")


if __name__ == "__main__":
    main()
