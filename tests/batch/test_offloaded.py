"""A batch whose tokenizer and transformer take turns: three threads ask for the device, and nothing changes."""

from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from batches import Batch, hashes

from cosmos_adapter.pair import modules_of
from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import FinishedItems, merged, new_log
from vidjacobi.batch.pipeline import Pipeline, Tools
from vidjacobi.batch.settings import load_plan
from vidjacobi.batch.workers import listing, load_pair
from vidjacobi.datasets.timed_reader import TimedReader
from vidjacobi.models.offload import MODEL, TOKENIZER, offload_pair


def test_an_offloaded_batch_is_the_same(
    batch: Batch, flags: dict[str, Any], reader: TimedReader, tmp_path: Path
) -> None:
    flags = {**flags, "output": "frames", "rows": 2}
    expected = hashes(batch(tmp_path / "plain", **flags))
    plan = load_plan("default", {**flags, "offload": True})
    plain = load_pair(load_plan("default", flags).config, "cpu")
    pair = offload_pair(*plain, modules_of(*plain), torch.device("cpu"))
    turns, seen = pair[0]._turns, []
    seat = turns._seat
    turns._seat = lambda name: (seen.append(name), seat(name))[1]
    outputs = open_out(tmp_path / "turns", plan)
    with closing(new_log(outputs.out)) as log:
        tools = Tools(plan, pair, outputs, log, lambda row: None, lambda line: None)
        Pipeline(tools).run(iter(listing(plan.config)), FinishedItems(outputs.out), reader)
    assert hashes({row.item: row for row in merged(outputs.out)}) == expected
    assert len(expected) == 6
    assert {MODEL, TOKENIZER} == set(seen)
    for item in ("a", "b"):
        plain_frames, frames = (
            [path.read_bytes() for path in sorted((tmp_path / name / "items" / item).rglob("*.png"))]
            for name in ("plain", "turns")
        )
        assert frames == plain_frames != []
