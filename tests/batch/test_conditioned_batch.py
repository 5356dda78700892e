"""A batch and a rollout whose clips have conditions: of each clip and chunk its own."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import write_clips
from conditioned_model import ConditionedTiny

import vidjacobi
from vidjacobi.batch.contexts import EncodedContext
from vidjacobi.batch.future_files import open_out
from vidjacobi.batch.manifest import FinishedItems, merged
from vidjacobi.batch.pipeline import Pipeline, Tools
from vidjacobi.batch.settings import load_plan
from vidjacobi.batch.workers import listing, new_log
from vidjacobi.errors import InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.rollouts.chunks import Chunk
from vidjacobi.video.clips import read_frames
from vidjacobi.video.timed_reader import TimedReader

MODEL = ConditionedTiny(8, Grid(4, 3, 4), surprise=0.5, dtype=torch.float64)


class Blocks:
    """Frames of 6x8 pixels, a grid of 3x4 blocks of 8 greys; 4 frames at once."""

    frame_size, stride_t, max_frames = (6, 8), 1, 4

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        grey = torch.nn.functional.avg_pool2d(pixels.mean(1), 2)
        return ((grey + 1) * 4).long().clamp(0, 7)

    def to_frames(self, tokens: torch.Tensor) -> torch.Tensor:
        grey = (tokens.float() / 7).repeat_interleave(2, -1).repeat_interleave(2, -2)
        return grey[:, None].expand(-1, 3, -1, -1, -1)


def condition_of(episode: str, chunk: int) -> int:
    return 100 * ord(episode[0]) + chunk


@pytest.mark.slow
@pytest.mark.unchecked
def test_a_batch_s_futures_are_those_of_rollouts_with_their_conditions(
    reader: TimedReader, tmp_path: Path
) -> None:
    """Three chunks each, rows that are refilled with clips of other conditions."""
    clips = write_clips(tmp_path / "clips", (9, 12, 8))
    flags = {"data": str(clips), "context": 2, "frames": 5, "samples": 2, "rows": 2, "output": "tokens"}
    plan = load_plan("default", flags | {"device": "cpu", "window": 5})
    outputs = open_out(tmp_path / "out", plan)

    def condition(context: EncodedContext, chunk: int) -> int:
        return condition_of(context.task.episode.id, chunk)

    with closing(new_log(outputs.out)) as log:
        pair: Any = (MODEL, Blocks())
        tools = Tools(plan, pair, outputs, log, lambda row: None, lambda line: None, condition=condition)
        Pipeline(tools).run(iter(listing(plan.config)), FinishedItems(outputs.out), reader)
    rows = [row for row in merged(outputs.out) if row.status == "done"]
    assert len(rows) == 6

    def rolled(row: Any, shift: int = 0) -> str:
        def own(chunk: Chunk) -> list[int]:
            return [shift + condition_of(row.episode, chunk.number)] * 2

        frames = read_frames(clips / f"{row.episode}.mp4", row.start, 2).frames
        options: dict[str, Any] = {"clip_id": row.episode, "start": row.start, "conditions": own}
        options |= {"decoder": plan.decoder, "sampling": plan.config.sampling}
        return vidjacobi.rollout(frames, MODEL, Blocks(), 5, 2, **options).token_hash(row.sample)

    for row in rows:
        assert row.tokens_sha256 == rolled(row)
    assert rows[0].tokens_sha256 != rolled(rows[0], shift=1)


def test_conditions_of_several_chunks_are_a_function() -> None:
    frames = torch.zeros(2, 6, 8, 3, dtype=torch.uint8)
    found = vidjacobi.rollout(frames, MODEL, Blocks(), 2, samples=2, conditions=[1, 2])
    assert found.tokens.shape == (2, 4, 3, 4)
    with pytest.raises(InvalidArgument, match="conditions of a rollout in 2 chunks: give a function"):
        vidjacobi.rollout(frames, MODEL, Blocks(), 3, conditions=[1])
    with pytest.raises(InvalidArgument, match="1 condition for a batch of 2 clips"):
        vidjacobi.rollout(frames, MODEL, Blocks(), 2, samples=2, conditions=[1])
    with pytest.raises(InvalidArgument, match="needs a condition"):
        vidjacobi.rollout(frames, MODEL, Blocks(), 2)
