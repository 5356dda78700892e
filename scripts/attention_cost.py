"""What reading the prefix costs in a layer of the 4B model: seconds by positions per pass and slots read.

    python scripts/attention_cost.py
    python scripts/attention_cost.py --positions 1 64 --prefixes 5120 12800 --repeats 9 --device cuda

Random weights in bfloat16. All cases are measured in turn, round after round, so that the ratios of a table are
ratios of one run; of each case the first quartile counts.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attend

from cosmos_adapter.spec import ModelSpec
from cosmos_adapter.transformer import CosmosTransformer, LayerCache

SPEC = replace(ModelSpec(), n_layers=1, vocab_size=64)
Case = tuple[str, int, int]  # what, positions, slots


def cases(
    network: CosmosTransformer, n: int, slots: int, cache: LayerCache
) -> dict[str, Callable[[], Tensor]]:
    """Ways to attend (keys and values are slices of a longer cache), and the whole layer as the model runs it."""
    device, dtype = cache.keys.device, cache.keys.dtype
    heads, groups, size = SPEC.n_heads, SPEC.n_kv_heads, SPEC.head_size
    queries = torch.randn(1, heads, n, size, device=device, dtype=dtype)
    keys, values = cache.keys[:, :, :slots], cache.values[:, :, :slots]
    positions = torch.arange(slots - n, slots, device=device)[None]
    visible = torch.arange(slots, device=device) <= positions[..., None]
    folded_mask = network._fold_mask(visible)
    mask = folded_mask[:, :, :n]
    folded = queries.reshape(1, groups, -1, size)
    shared = network._pass(positions, slots=positions, mask=folded_mask)
    hidden = torch.randn(1, n, SPEC.dim, device=device, dtype=dtype)
    repeat = heads // groups
    return {
        "folded": lambda: attend(folded, keys, values, attn_mask=folded_mask),
        "folded, bool": lambda: attend(folded, keys, values, attn_mask=visible.repeat(1, repeat, 1)[:, None]),
        "enable_gqa": lambda: attend(queries, keys, values, attn_mask=mask, enable_gqa=True),
        "repeated": lambda: attend(
            queries, keys.repeat_interleave(repeat, 1), values.repeat_interleave(repeat, 1), attn_mask=mask
        ),
        "mask": lambda: network._fold_mask(visible),
        "layer": lambda: network.layers[0](hidden, shared, cache, None),
    }


def measure(works: dict[Case, Callable[[], Tensor]], repeats: int) -> dict[Case, float]:
    """Milliseconds."""
    seconds: dict[Case, list[float]] = {case: [] for case in works}
    for _ in range(repeats + 1):
        for case, work in works.items():
            began = time.perf_counter()
            if work().is_cuda:
                torch.cuda.synchronize()
            seconds[case].append(time.perf_counter() - began)
    return {case: 1e3 * sorted(times[1:])[len(times[1:]) // 4] for case, times in seconds.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--prefixes", type=int, nargs="+", default=[5120, 12800])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    network = CosmosTransformer(SPEC).to(args.device, torch.bfloat16).eval()
    cache = network.make_cache(1, SPEC.positions + 1)[0]
    cache.keys.normal_(), cache.values.normal_()
    heads = [f"ms at {p}" for p in args.prefixes], [f"/ folded at {p}" for p in args.prefixes]
    print("| positions | | " + " | ".join([*heads[0], "longest / shortest", *heads[1]]) + " |")
    for n in args.positions:
        works: dict[Case, Callable[[], Tensor]] = {}
        for slots in args.prefixes:
            made = cases(network, n, slots, cache)
            works |= {(name, n, slots): work for name, work in made.items()}
        found = measure(works, args.repeats)
        for name in dict.fromkeys(case[0] for case in works):
            times = [found[name, n, slots] for slots in args.prefixes]
            folded = [found["folded", n, slots] for slots in args.prefixes]
            numbers = [*times, times[-1] / times[0], *(a / b for a, b in zip(times, folded, strict=True))]
            print(f"| {n} | {name} | " + " | ".join(f"{number:.3g}" for number in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
