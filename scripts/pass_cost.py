"""What a pass costs in this checkout and in another one: CPU ms a pass and a clip, and operations.

Both decode the same clips with the same model (`small`: random weights, made here), each in a process of its own,
and alternate clip by clip. The table gives ms a pass and the ratios here / there, of the whole pass, its forward call
(prefills too), and everything outside, and of a whole clip. Operations are those of the 4B's pass outside its forward
call, by ``bench overhead``'s counter.

    git worktree add /tmp/before 9ea81e5 && python scripts/pass_cost.py /tmp/before
    python scripts/pass_cost.py /tmp/before --model micro --cases pathwise:16 pathwise:64
    python scripts/pass_cost.py /tmp/before --model nano --dtype auto --cases pathwise:64 ar:1
    python scripts/pass_cost.py --operations
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parents[1]
CASES = ["ar:1", "mc_sjd:16", "mc_sjd:64", "gs_sjd:16", "gs_sjd:64"]
CASES += ["pathwise:16", "pathwise:64", "fast:16", "fast:64"]
COUNTED = ("pathwise", "fast", "mc_sjd", "gs_sjd")
CLIPS, LATENTS = 4, 3  # clips of a round; latent frames to decide


def small_model() -> Any:
    """3 layers, 128 wide, 512 codes, a grid of 12 x 12: with either checkout's classes."""
    import torch

    try:
        from cosmos_adapter.transformer.model import CosmosModel
        from cosmos_adapter.transformer.network import CosmosTransformer
        from cosmos_adapter.transformer.spec import ModelSpec
    except ImportError:  # as the modules were called at 9ea81e5
        from cosmos_adapter.adapter import CosmosModel
        from cosmos_adapter.spec import ModelSpec

        from cosmos_adapter.transformer import CosmosTransformer
    sizes = {"dim": 128, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "ffn_hidden_size": 384}
    network = CosmosTransformer(ModelSpec(**sizes, vocab_size=512, video_latent_shape=(5, 12, 12)))
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        scale = 0.25 if name.startswith("output") else 0.08
        if "tok" in name:  # all tokens alike but for a part, so that most drafts are accepted
            noise, scale = noise[:1] + 0.3 * noise, 1.0
        weight.data = 1 + 0.1 * noise if weight.ndim == 1 else scale * noise
    return CosmosModel(network)


def serve(name: str, dtype: str) -> None:
    """Decode what is asked for, one line of JSON each; answer with CPU seconds. Runs in the checkout's process."""
    import torch

    import vidjacobi

    torch.set_num_threads(1)
    model: Any = small_model() if name == "small" else vidjacobi.load(name, "cpu", dtype)[0]
    frame = model.grid_for(1).frame_tokens
    contexts = torch.randint(0, model.vocab_size, (CLIPS, frame), generator=torch.Generator().manual_seed(1))
    inside = [0.0]

    def timed(work: Any) -> Any:
        def measured(*inputs: Any) -> Any:
            began = time.process_time()
            result = work(*inputs)
            inside[0] += time.process_time() - began
            return result

        return measured

    prefill = model.prefill
    model.forward = timed(model.forward)
    model.prefill = lambda *given: iter(timed(lambda: list(prefill(*given)))())
    for line in sys.stdin:
        decoder, window, clip, seed = json.loads(line)
        inside[0], began = 0.0, time.process_time()
        options = {"seed": seed, "temperature": 1.0, "top_p": 0.8}
        if hasattr(vidjacobi, "SamplingParams"):
            options = {"sampling": vidjacobi.SamplingParams(**options)}
        found = vidjacobi.decode(model, contexts[[clip]], LATENTS * frame, decoder, window, **options)
        whole = time.process_time() - began
        print(json.dumps([whole, inside[0], found.stats.passes, found.tokens.sum().item()]), flush=True)


class Checkout:
    """A long-lived process that decodes with the code of one checkout."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        setting = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(folder)}
        command = [sys.executable, __file__, "--serve", "--model", args.model, "--dtype", args.dtype]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=os.environ | setting, **pipes)

    def decode(self, *asked: Any) -> list[float]:
        """[CPU seconds, those inside forward, passes, sum of the tokens]"""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return list(json.loads(self.process.stdout.readline()))


def compare(here: Checkout, there: Checkout, case: str, rounds: int) -> str:
    """A line of the table: medians over rounds."""
    decoder, window = case.split(":")
    found: list[list[float]] = []
    same = True
    for number in range(rounds):
        cost = {here: [0.0] * 3, there: [0.0] * 3}
        for clip in range(CLIPS):
            sums = set()
            for side in [here, there] if (clip + number) % 2 else [there, here]:
                *costs, tokens = side.decode(decoder, int(window), clip, number)
                cost[side] = [a + b for a, b in zip(cost[side], costs, strict=True)]
                sums.add(tokens)
            same &= len(sums) == 1
        new, old = (
            [1e3 * whole / n, 1e3 * inside / n, 1e3 * (whole - inside) / n, whole]
            for whole, inside, n in (cost[here], cost[there])
        )
        found.append([*new, *old, *(a / b for a, b in zip(new, old, strict=True)), cost[here][2] / CLIPS])
    *numbers, passes = (median(column) for column in zip(*found, strict=True))
    new, old, ratio = numbers[:4], numbers[4:8], numbers[8:]
    cells = [f"{a:.2f} / {b:.2f} = {r:.2f}" for a, b, r in zip(new[:3], old, ratio, strict=False)]
    return f"| {case} | {passes:.0f} | {' | '.join(cells)} | {ratio[3]:.2f} | {'yes' if same else 'no'} |"


def operations() -> None:
    """Of the 4B at window 128, outside the forward call: on tensors without numbers, as a device runs them."""
    import torch

    from vidjacobi.config.decoder import load_decoder, with_window
    from vidjacobi.estimate.overhead import outside_work
    from vidjacobi.estimate.scenario import RolloutShape
    from vidjacobi.loading import outline

    for name in COUNTED:
        shape = RolloutShape(with_window(load_decoder(name), 128))
        print(name, outside_work(outline("4B", torch.bfloat16), shape).each_pass)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("there", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--model", default="small", help="small, nano or micro")
    parser.add_argument("--dtype", default="float32", help="of nano and micro; auto: each checkout's default")
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="DECODER:WINDOW")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations", action="store_true", help="count operations only")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.model, args.dtype)
    elif args.operations:
        operations()
    else:
        here, there = Checkout(HERE, args), Checkout(args.there.resolve(), args)
        columns = "decoder:window", "passes", "whole, ms a pass", "forward", "outside", "clip", "same tokens"
        print(f"| {' | '.join(columns)} |\n{7 * '|---'}|")
        for case in args.cases:
            print(compare(here, there, case, args.rounds), flush=True)
        for side in (here, there):
            side.process.stdin.close()  # ends it


if __name__ == "__main__":
    main()
