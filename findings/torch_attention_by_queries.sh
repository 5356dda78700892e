#!/usr/bin/env bash
# PyTorch 2.14.1, scaled_dot_product_attention in bfloat16 on an x86 processor with AMX, one thread: what a query gets
# depends on how many other queries are asked for with it, for some head sizes and not for others.
#
# Printed: for each head size, of 256 queries without a mask those whose output is another when they are asked for in
# calls of 32 instead of in one call. Seen: none for 32, 64, 96 and 128; 1 to 8 for 40, 48, 56, 72, 80 and 112, with
# other draws too. All inputs are the same, only the order of summation is not. So decoding with a cache that feeds one
# token at a time, and one pass over all of them, need not choose the same tokens, and whether a test of that passes
# depends on the size of the heads that it was written with. In float32 none differ.
# Exit status 0: as described; 1: no longer; 2: this processor has no AMX, and nothing was looked at.
set -euo pipefail
if ! lscpu | grep amx_bf16 >/dev/null; then
    echo "this processor has no AMX" >&2
    exit 2
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q torch==2.14.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
QUERIES, KEYS, TOGETHER = 256, 1024, 32
ALIKE, OTHERS = (32, 64, 96, 128), (40, 48, 56, 72, 80, 112)


def differ(size, dtype):
    """Queries whose output depends on how many are asked for at once."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, rows, size, generator=draw).to(dtype) for rows in (QUERIES, KEYS, KEYS))
    at_once = F.scaled_dot_product_attention(q, k, v)
    in_parts = [F.scaled_dot_product_attention(part, k, v) for part in q.split(TOGETHER, 2)]
    return int((at_once != torch.cat(in_parts, 2)).any(-1).sum())


found = {size: differ(size, torch.bfloat16) for size in sorted(ALIKE + OTHERS)}
for size, count in found.items():
    print(f"head size {size}: {count} of {QUERIES} queries differ in bfloat16, {differ(size, torch.float32)} in float32")
assert not any(found[size] for size in ALIKE), "heads of multiples of 32 differ too"
assert sum(found[size] > 0 for size in OTHERS) >= 4, "the other sizes no longer differ"
assert not any(differ(size, torch.float32) for size in found), "float32 differs"
PYTHON
