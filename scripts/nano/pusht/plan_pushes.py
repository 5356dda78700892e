"""Plan in nano-pusht and act in the true simulator, beside scripted policies from the same starts.

    python scripts/nano pusht-plan                               # 10 starts: about 10 minutes of one core
    python scripts/nano pusht-plan --model simulator --starts 4  # what the candidates are good for: half a minute

Prints the mean of the largest coverage of each, the planner's difference from the weak policy with its paired
bootstrap interval, and what a plan takes; ``planned.json`` in ``--out`` holds the same. Needs the extra ``pusht``.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from scripts.nano.pusht.pusht_sizes import RUNS
from scripts.nano.pusht.record_pushes import SIZE, STRIDE
from vidjacobi.errors import InvalidArgument
from vidjacobi.eval.policies.contract import scripted
from vidjacobi.eval.policies.planner import Planner, worth
from vidjacobi.eval.policies.playing import play
from vidjacobi.eval.policies.ranks import mean_of
from vidjacobi.eval.policies.simulator import Simulator
from vidjacobi.eval.policies.worlds import FIRST, Starts, TrueWorld
from vidjacobi.eval.pusht_poses import read_pictures
from vidjacobi.families.opening import load_family
from vidjacobi.output.atomic import write_json
from vidjacobi.session import Choice

BESIDE = ("weak", "good")


class InSimulator(Planner):
    """The same planner with the true simulator in the model's place: a bound, which no model is in."""

    def plan(self, seen: np.ndarray, told: list[np.ndarray], paths: np.ndarray, name: str) -> Choice:
        """See Planner."""
        began, reading, simulator = time.perf_counter(), read_pictures(seen[-1:]), Simulator()
        scores = []
        for path in paths:
            simulator.place(reading.agent[0], reading.tee[0])
            for target in np.repeat(path, STRIDE, 0):
                simulator.step(target)
            scores.append(worth(simulator.pose))
        choice = Choice(int(np.argmax(scores)), scores, [], [0], time.perf_counter() - began)
        self.plans.append(choice)
        return choice


def parser() -> argparse.ArgumentParser:
    """The options of this stage."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default="nano-pusht", help="a name, pusht:FOLDER, or simulator")
    options.add_argument("--starts", type=int, default=10)
    options.add_argument("--frames", type=int, default=24, help="that a policy acts for, two steps each")
    options.add_argument("--candidates", type=int, default=32)
    options.add_argument("--ahead", type=int, default=10, help="frames that are imagined")
    options.add_argument("--done", type=int, default=10, help="frames until the next plan")
    options.add_argument("--out", type=Path, default=RUNS / "planned")
    return options


def run(arguments: argparse.Namespace) -> None:
    """Plan and print. Raises InvalidArgument, BadInput without the simulator, BadCheckpoint."""
    if arguments.starts < 2 or not 1 <= arguments.done <= arguments.ahead or arguments.candidates < 2:
        raise InvalidArgument(
            "2 starts or more, 2 candidates or more, and --done from 1 to --ahead are needed"
        )
    torch.set_num_threads(1)
    starts, asked = Starts(arguments.starts, FIRST, STRIDE, SIZE), (arguments.ahead, arguments.done)
    if arguments.model == "simulator":
        planner: Planner = InSimulator(None, arguments.candidates, *asked)  # type: ignore[arg-type]
    else:
        planner = Planner(load_family(arguments.model, "cpu", "float32"), arguments.candidates, *asked)
    best = {}
    for policy in (*map(scripted, BESIDE), planner.policy()):
        best[policy.name] = play(policy, TrueWorld(starts), starts.pictures, arguments.frames, 0, 0).best
        print(f"{policy.name}: largest coverage {best[policy.name].mean():.3f}", flush=True)
    found = {
        "largest_coverage": {name: mean_of(own).to_json() for name, own in best.items()},
        **{f"planner_minus_{name}": mean_of(best["planner"] - best[name]).to_json() for name in BESIDE},
        "plans": len(planner.plans),
        "candidates": arguments.candidates,
        "passes_a_plan": fmean(max(plan.nfe) for plan in planner.plans),
        "seconds_a_plan": fmean(plan.seconds for plan in planner.plans),
    }
    print(json.dumps(found, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "planned.json", found)
