"""A batch whose tokenizer and transformer take turns: three threads ask for the device, and nothing changes."""

from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import Batch, hashes

from cosmos_adapter.pair import modules_of
from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import FinishedItems, merged, new_log
from vidjacobi.batch.pipeline import Pipeline, Tools
from vidjacobi.batch.settings import load_plan
from vidjacobi.batch.workers import listing, load_pair
from vidjacobi.models.offload import MODEL, TOKENIZER, OffloadedModel, OffloadedTokenizer, SharedDevice
from vidjacobi.video.timed_reader import TimedReader


class WatchedDevice(SharedDevice):
    """Remembers whose turns there were."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[str] = []

    def turn(self, name: str) -> AbstractContextManager[None]:
        self.seen.append(name)
        return super().turn(name)


@pytest.mark.slow
def test_an_offloaded_batch_is_the_same(
    batch: Batch, flags: dict[str, Any], reader: TimedReader, tmp_path: Path
) -> None:
    flags = {**flags, "output": "frames", "rows": 2}
    expected = hashes(batch(tmp_path / "plain", **flags))
    plan = load_plan("default", {**flags, "offload": True})
    plain = load_pair(load_plan("default", flags).config, "cpu")
    modules = dict(zip((MODEL, TOKENIZER), modules_of(*plain), strict=True))
    shared = WatchedDevice(modules, torch.device("cpu"))
    pair = OffloadedModel(plain[0], shared), OffloadedTokenizer(plain[1], shared)
    outputs = open_out(tmp_path / "turns", plan)
    with closing(new_log(outputs.out)) as log:
        tools = Tools(plan, pair, outputs, log, lambda row: None, lambda line: None)
        Pipeline(tools).run(iter(listing(plan.config)), FinishedItems(outputs.out), reader)
    assert hashes({row.item: row for row in merged(outputs.out)}) == expected
    assert len(expected) == 6
    assert {MODEL, TOKENIZER} == set(shared.seen)
    for item in ("a", "b"):
        plain_frames, frames = (
            [path.read_bytes() for path in sorted((tmp_path / name / "items" / item).rglob("*.png"))]
            for name in ("plain", "turns")
        )
        assert frames == plain_frames != []
