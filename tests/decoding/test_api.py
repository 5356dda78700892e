"""The public call: what it refuses, what identifies a clip, and what the numbers mean."""

import math
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi import decode
from vidjacobi.config.decoder import load_decoder
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.decoding.recipe import Progress
from vidjacobi.decoding.strategies.draft_tree import DraftTree
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import BadModelOutput, InvalidArgument
from vidjacobi.kinds import Grid
from vidjacobi.sampling.probs import SamplingParams
from vidjacobi.testing import TinyVideoModel

DECODERS = config_names("decoder")
GRID = Grid(4, 2, 3)
VOCAB, CONTEXT, NEW = 8, 7, 17
IDS = ["a", "b", "c", "d"]


def model(**options: Any) -> TinyVideoModel:
    return TinyVideoModel(VOCAB, GRID, surprise=0.5, dtype=torch.float64, **options)


def contexts(clips: int = len(IDS)) -> Tensor:
    return torch.randint(0, VOCAB, (clips, CONTEXT), generator=torch.Generator().manual_seed(3))


def run(decoder: str, rows: list[int] | None = None, **options: Any) -> Decoded:
    rows = list(range(len(IDS))) if rows is None else rows
    options = {"window": 5, "clip_ids": [IDS[row] for row in rows], **options}
    if decoder == "ar":
        options["window"] = None
    return decode(model(), contexts()[rows], NEW, decoder, **options)


def lanes_and_tree(decoder: str) -> tuple[bool, dict[str, Any] | None]:
    """(whether it has several lanes, its draft tree)."""
    config = load_decoder(decoder)
    return config.lanes is not None, config.draft_tree


@pytest.mark.unchecked
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_clip_is_the_same_in_any_batch(decoder: str) -> None:
    """Tokens, NFE and the trace by token, alone, in another order, and beside others."""
    whole = run(decoder)
    for rows in ([0], [3, 1], [2, 0, 3, 1]):
        part = run(decoder, rows)
        assert torch.equal(part.tokens, whole.tokens[rows])
        assert part.stats.nfe == [whole.stats.nfe[row] for row in rows]
        assert torch.equal(part.trace.decided_in, whole.trace.decided_in[rows])
        assert torch.equal(part.trace.redrafted, whole.trace.redrafted[rows])
        passes = part.stats.passes
        assert torch.equal(part.trace.accepted, whole.trace.accepted[:passes, rows])


@pytest.mark.unchecked
@pytest.mark.usefixtures("ticking_clock")
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("window", [1, 4, 17, 40])
def test_the_trace_adds_up(decoder: str, window: int) -> None:
    decoded = run(decoder, window=window)
    trace, stats = decoded.trace, decoded.stats
    clips = len(IDS)
    assert decoded.tokens.shape == trace.decided_in.shape == trace.redrafted.shape == (clips, NEW)
    assert trace.decided.shape == trace.accepted.shape == trace.changed.shape == trace.pending.shape
    assert trace.decided.shape == (stats.passes, clips)
    assert (decoded.tokens >= 0).all()
    assert (decoded.tokens < VOCAB).all()

    lanes, tree = lanes_and_tree(decoder)
    assert trace.decided.sum(0).tolist() == [NEW] * clips
    assert trace.frontier[-1].tolist() == [NEW] * clips
    assert (trace.decided > 0).sum(0).tolist() == stats.nfe
    assert max(stats.nfe) == stats.passes
    assert (trace.decided[0] == 1).all()  # the prefill decides one
    corrected = trace.decided - trace.accepted
    most = GRID.t * GRID.h if lanes else 2 if tree else 1  # of every lane one; one after a sibling
    assert ((corrected >= 0) & (corrected <= most)).all()
    assert (trace.changed <= trace.pending).all()
    assert (trace.decided + trace.pending)[1:].max() <= window + bool(tree)
    assert (trace.evaluated[0] == CONTEXT).all()
    assert trace.evaluated[1:].max() <= window
    assert torch.equal(trace.evaluated > 0, trace.decided > 0)
    mean = trace.evaluated[1:].sum(0) / (torch.tensor(stats.nfe) - 1)
    assert stats.positions == pytest.approx(mean.tolist())
    for clip in range(clips):
        took_part = trace.decided[: stats.nfe[clip], clip]
        assert (took_part > 0).all()  # a clip decides in every pass until it ends, then in none
        by_pass = trace.decided_in[clip].bincount(minlength=stats.nfe[clip] + 1)
        assert by_pass[1:].tolist() == took_part.tolist()
        assert lanes or (trace.decided_in[clip].diff() >= 0).all()
    assert trace.redrafted.sum(1).tolist() == trace.changed.sum(0).tolist()
    assert stats.new_tokens == [NEW] * clips
    assert stats.tokens_per_pass == [NEW / nfe for nfe in stats.nfe]
    promised = load_decoder(decoder).guarantee
    assert stats.guarantee == ("identical up to rounding" if promised == "identical" else promised)
    assert stats.seconds >= stats.forward_seconds > 0
    assert 0 < stats.prefill_seconds <= stats.seconds


def test_ar_takes_one_pass_per_token() -> None:
    stats = run("ar").stats
    assert stats.nfe == [NEW] * len(IDS)
    assert stats.passes == NEW


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_window_of_one_is_ar(decoder: str) -> None:
    """In passes; the tokens too where the decoder is pathwise."""
    decoded = run(decoder, window=1)
    assert decoded.stats.nfe == [NEW] * len(IDS)
    if decoded.stats.guarantee == "identical":
        temperature = load_decoder(decoder).temperature
        assert torch.equal(decoded.tokens, run("ar", sampling=SamplingParams(temperature)).tokens)


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_new_token(decoder: str) -> None:
    decoded = decode(model(), contexts(), 1, decoder, window=6, clip_ids=IDS)
    assert decoded.tokens.shape == (4, 1)
    assert decoded.stats.nfe == [1] * 4
    assert decoded.stats.passes == 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_window_longer_than_the_rest_changes_nothing_that_is_decided(decoder: str) -> None:
    """With n - 1 tokens left after the prefill, a window of n - 1 and one of 10 n see the same."""
    config = load_decoder(decoder)
    least = 4
    if config.draft_tree:
        config = replace(config, draft_tree={**config.draft_tree, "share": None})  # as many at both windows
        least += DraftTree(**config.draft_tree).count(100)
    a, b = (decode(model(), contexts(), 5, config, window=window, clip_ids=IDS) for window in (least, 99))
    assert torch.equal(a.tokens, b.tokens)
    assert a.stats.nfe == b.stats.nfe


def test_the_default_decoder_returns_the_tokens_of_ar() -> None:
    assert torch.equal(run("ar").tokens, decode(model(), contexts(), NEW, clip_ids=IDS).tokens)


def test_ar_at_the_width_of_a_window_is_ar() -> None:
    wide = decode(model(), contexts(), NEW, "ar", window=9, clip_ids=IDS)
    assert torch.equal(wide.tokens, run("ar").tokens)
    assert wide.stats.nfe == [NEW] * len(IDS)


def test_seeds_and_clip_ids_key_the_noise() -> None:
    same = contexts()[:1].repeat(3, 1)
    unnamed = decode(model(), same, NEW).tokens
    assert torch.equal(unnamed[0], unnamed[1])  # equal contexts get equal futures
    named = decode(model(), same, NEW, clip_ids=["x", "y", "x"]).tokens
    assert torch.equal(named[0], named[2])
    assert not torch.equal(named[0], named[1])
    assert not torch.equal(unnamed, decode(model(), same, NEW, sampling=SamplingParams(seed=1)).tokens)
    assert torch.equal(unnamed, decode(model(), same, NEW, sampling=SamplingParams(seed=0)).tokens)
    decode(model(), same, NEW, sampling=SamplingParams(seed=-1))


def test_the_context_is_left_alone_and_may_be_of_any_integer_type() -> None:
    context = contexts()
    before = context.clone()
    tokens = decode(model(), context, NEW).tokens
    assert torch.equal(context, before)
    assert torch.equal(decode(model(), context.int(), NEW).tokens, tokens)


def test_progress_is_reported_once_per_pass() -> None:
    for decoder in ("ar", "pathwise"):
        seen: list[Progress] = []
        decoded = run(decoder, observe=seen.append)
        assert [progress.passes for progress in seen] == list(range(1, decoded.stats.passes + 1))
        assert [p.decided for p in seen] == decoded.trace.decided.sum(1).cumsum(0).tolist()
        assert {progress.total for progress in seen} == {NEW * len(IDS)}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_model_that_returns_no_probs(decoder: str, value: float) -> None:
    class Broken(TinyVideoModel):
        def forward(self, *inputs: Any) -> Tensor:
            logits = super().forward(*inputs)
            logits[:, :, 0] = torch.where(inputs[1] >= CONTEXT + 2, value, logits[:, :, 0])
            return logits

    with pytest.raises(BadModelOutput, match="not finite"):
        decode(Broken(VOCAB, GRID), contexts(), NEW, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_tokens_of_probability_zero_are_fine(decoder: str) -> None:
    class Short(TinyVideoModel):
        def forward(self, *inputs: Any) -> Tensor:
            return super().forward(*inputs).index_fill(-1, torch.tensor([1, 4]), -math.inf)

    tokens = decode(Short(VOCAB, GRID), contexts(), NEW, decoder, sampling=SamplingParams(top_p=1.0)).tokens
    assert not ((tokens == 1) | (tokens == 4)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window must be at least 1"),
        ({"window": -3}, "window must be at least 1"),
        ({"new_tokens": 0}, "at least 1 new token"),
        ({"new_tokens": 18}, "7 context + 18 new tokens exceed the model's 24 positions"),
        ({"context": torch.zeros(2, 0).long()}, "context is empty"),
        ({"context": torch.zeros(0, 4).long()}, "context is empty"),
        ({"context": torch.full((2, 4), 8)}, "outside the vocabulary of 8"),
        ({"context": torch.full((2, 4), -1)}, "outside the vocabulary of 8"),
        ({"decoder": "pathwize"}, "did you mean 'pathwise'"),
        ({"clip_ids": ["a"]}, "there are 4 clips but 1 clip id"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], words: str) -> None:
    arguments = {"model": model(), "context": contexts(), "new_tokens": NEW, **options}
    with pytest.raises(InvalidArgument) as caught:
        decode(**arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "context",
    [
        torch.zeros(4).long(),
        torch.zeros(1, 4),
        torch.zeros(1, 2, 2).long(),
        [torch.zeros(4)],
        [torch.zeros(3).long(), torch.zeros(1, 4).long()],
    ],
)
def test_a_context_of_another_shape_or_type(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in words, also where nothing else checks shapes."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InvalidArgument, match="integer token ids"):
        decode(model(), context, 1)


def test_a_jacobi_decoder_without_strategies_is_refused() -> None:
    nothing = load_decoder("pathwise", {"draft": None, "coupling": None, "verifier": None})
    with pytest.raises(InvalidArgument, match="needs a draft rule"):
        decode(model(), contexts(), NEW, nothing)


def test_a_decoder_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """Shipped decoders are built once; a file of one's own is not kept."""
    path, shipped = tmp_path / "mine.yaml", choose_decoder("pathwise", 5, SamplingParams())
    assert choose_decoder("pathwise", 9, SamplingParams()).parts is shipped.parts
    text = (resources.files("vidjacobi") / "configs" / "decoder" / "pathwise.yaml").read_text()
    for window in (7, 11):
        path.write_text(re.sub(r"(?m)^window: \d+", f"window: {window}", text))
        chosen = choose_decoder(str(path), None, SamplingParams())
        assert chosen.window == window
        assert chosen.parts == shipped.parts


def test_the_public_names() -> None:
    assert {"decode", "load", "rollout", "VideoModel"} <= set(dir(vidjacobi)) | set(vidjacobi.__all__)
