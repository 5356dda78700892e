"""Print the passes of one tiny decode slot by slot: drafts, q, p, the rejection test, and what becomes of each.

python scripts/show_pass.py            # the third pass, as in docs/design.md
python scripts/show_pass.py --all
"""

import argparse
from dataclasses import replace

import torch

import vidjacobi
from vidjacobi.decoding import api, jacobi
from vidjacobi.decoding.recipe import Clips
from vidjacobi.decoding.step import STEP
from vidjacobi.decoding.trace import finish
from vidjacobi.sampling.noise import Purpose
from vidjacobi.testing import TinyVideoModel

CONTEXT, NEW, WINDOW, SEED = [0, 1, 2, 3, 4, 0, 1, 2], 16, 5, 1
COLUMNS = "slot  input  fed   target  draft from     q(x)  p(x)  u     u q < p   becomes"


def passes() -> list[list[str]]:
    """The lines of every pass after the prefill, MC-SJD on a random model of five tokens."""
    found: list[list[str]] = []

    # The functions of a step are arguments of the loop, so a commit that also prints can be handed in.
    def commit(recipe, inputs, verdict):
        found.append([line(inputs, verdict, slot) for slot in range(inputs.window.width)])
        return STEP.commit(recipe, inputs, verdict)

    model = TinyVideoModel(5, vidjacobi.Grid(4, 2, 4), seed=3, surprise=0.6)
    decoder = api.choose_decoder("mc_sjd", WINDOW, vidjacobi.SamplingParams(seed=SEED))
    keys = [api.noise_key_of("a clip")]
    clips = Clips.of([torch.tensor(CONTEXT)], [NEW], SEED, keys, model.device)
    using = replace(STEP, commit=commit)
    finish(jacobi.steps(decoder.recipe(model, len(CONTEXT) + NEW), clips, using=using))
    return found


def line(inputs, verdict, slot: int) -> str:
    """One slot of a window."""
    window, evidence = inputs.window, verdict.evidence
    if not window.valid[0, slot]:
        return f"{slot:<5} padding"
    draft, carried = int(evidence.drafts[0, slot]), int(evidence.draft_probs.slot[0, slot])
    q, p = (
        float(probs.of(evidence.drafts)[0, slot]) for probs in (evidence.draft_probs, evidence.target_probs)
    )
    u = float(evidence.noise.uniform(Purpose.ACCEPT)[0, slot])
    prefix, token = verdict.prefix, int(verdict.tokens[0, slot])
    kind = "redraft"
    if prefix.decided[0, slot]:
        kind = "accepted" if prefix.accepted[0, slot] else "corrected"
    # a draft that the last window held too was drawn from the probs of its slot there
    source = "new" if carried < 0 else f"slot {carried}"
    return (
        f"{slot:<5} {int(window.inputs[0, slot]):<6} {int(inputs.fed[0, slot]):<5} "
        f"{int(window.targets[0, slot]):<7} {draft} {source:<12} {q:<5.2f} {p:<5.2f} {u:<5.2f} "
        f"{'yes' if u * q < p else 'no':<9} {token} {kind}"
    )


def main() -> None:
    """Print one pass or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--all", action="store_true", help="all passes, not only the third")
    every = parser.parse_args().all
    # the prefill is the first pass
    for number, lines in enumerate(passes(), 2):
        if every or number == 3:
            print(f"pass {number}\n{COLUMNS}")
            print("\n".join(lines))


if __name__ == "__main__":
    main()
