"""The time to read the prefix in a layer of the 4B model, by positions per pass and slots that are read.

    python scripts/attention_cost.py
    python scripts/attention_cost.py --positions 1 64 --prefixes 5120 12800 --repeats 9 --device cuda

The layer has random bfloat16 weights. The cases of a table are measured in turn, round after round, and the first
quartile of each counts. "folded" is what the model does: query heads of a group along the query axis, and one
additive mask.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attend

from cosmos_adapter.transformer.attention import LayerCache, entry_places
from cosmos_adapter.transformer.network import CosmosTransformer
from cosmos_adapter.transformer.spec import ModelSpec

SPEC = replace(ModelSpec(), n_layers=1, vocab_size=64)
Works = dict[tuple[str, int], Callable[[], Tensor]]  # (name, slots) -> what is measured


def works_of(network: CosmosTransformer, n: int, slots: int, cache: LayerCache) -> Works:
    """The ways to attend, and the whole layer. Keys and values are slices of a longer cache, as in a decode."""
    group, kv_heads = SPEC.query_group, SPEC.n_kv_heads
    queries = cache.keys.new_empty(1, SPEC.n_heads, n, SPEC.head_size).normal_()
    keys, values = cache.keys[:, :, :slots], cache.values[:, :, :slots]
    positions = torch.arange(slots - n, slots, device=keys.device)[None]
    visible = torch.arange(slots, device=keys.device) <= positions[..., None]
    mask = network._mask_of_others(visible, positions, n, slots)
    folded, plain = queries.reshape(1, kv_heads, -1, SPEC.head_size), mask[:, :, :n]
    shared = network._pass_inputs(positions, entry_places(positions, cache.keys), mask)
    hidden = cache.keys.new_empty(1, n, SPEC.dim).normal_()
    # "repeated" copies keys and values for every query head; "mask" is the time to make the mask, once for all
    # layers.
    ways = {
        "folded": lambda: attend(folded, keys, values, mask),
        "folded, bool": lambda: attend(folded, keys, values, visible.repeat(1, group, 1)[:, None]),
        "enable_gqa": lambda: attend(queries, keys, values, plain, enable_gqa=True),
        "repeated": lambda: attend(
            queries, keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1), plain
        ),
        "mask": lambda: network._mask_of_others(visible, positions, n, slots),
        "layer": lambda: network.layers[0](hidden, shared, cache, None),
    }
    return {(name, slots): way for name, way in ways.items()}


def milliseconds(works: Works, repeats: int) -> dict[tuple[str, int], float]:
    """The first quartile of the times of each case, in milliseconds."""
    seconds: dict[tuple[str, int], list[float]] = {case: [] for case in works}
    for _ in range(repeats + 1):
        for case, work in works.items():
            began = time.perf_counter()
            # A GPU works on after the call has returned.
            if work().is_cuda:
                torch.cuda.synchronize()
            seconds[case].append(time.perf_counter() - began)
    # the first round warms up
    return {case: 1e3 * sorted(times[1:])[repeats // 4] for case, times in seconds.items()}


@torch.inference_mode()
def main() -> None:
    """Print a row for each number of positions and each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--positions", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--prefixes", type=int, nargs="+", default=[5120, 12800])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    network = CosmosTransformer(SPEC).to(args.device, torch.bfloat16).eval()
    cache = LayerCache(*(part.normal_() for part in network.make_cache(1, SPEC.positions + 1)[0]))
    print(
        "| positions | | ms, / folded at "
        + " | at ".join(map(str, args.prefixes))
        + " | longest / shortest |"
    )
    for n in args.positions:
        works = {k: v for slots in args.prefixes for k, v in works_of(network, n, slots, cache).items()}
        found = milliseconds(works, args.repeats)
        for name in dict.fromkeys(case[0] for case in works):
            times = [found[name, slots] for slots in args.prefixes]
            both = [
                f"{ms:.3g}, {ms / found['folded', p]:.3g}" for ms, p in zip(times, args.prefixes, strict=True)
            ]
            print(f"| {n} | {name} | {' | '.join(both)} | {times[-1] / times[0]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
