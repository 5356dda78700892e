"""Arguments of another type or out of range are refused in words, and a window is no larger than useful."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi import Grid, Request, SamplingParams
from vidjacobi.cli.main import main
from vidjacobi.config.yaml_files import config_names
from vidjacobi.decoding.api import choose_decoder
from vidjacobi.errors import InvalidArgument, VidjacobiError
from vidjacobi.testing import TinyVideoModel

pytestmark = pytest.mark.unchecked  # the hook that checks shapes would refuse these types first

GRID, VOCAB, NEW = Grid(3, 2, 3), 8, 6


def model(dtype: torch.dtype = torch.float32) -> TinyVideoModel:
    return TinyVideoModel(VOCAB, GRID, surprise=0.5, dtype=dtype)


def contexts() -> Tensor:
    return torch.randint(0, VOCAB, (2, 7), generator=torch.Generator().manual_seed(3))


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "context",
    [
        contexts().tolist(),
        contexts().numpy(),
        list(contexts().numpy()),
        contexts().bool(),
        contexts().to("meta"),
        contexts().to_sparse(),
        contexts().to(torch.complex64),
        [1, 2],
        {"a": 1},
        "tokens",
        None,
    ],
)
def test_a_context_is_tensors(context: Any) -> None:
    assert "integer token ids" in refusal(vidjacobi.decode, model(), context, NEW)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"new_tokens": 2.5}, "the number of new tokens must be a whole number, not 2.5 (float)"),
        ({"new_tokens": True}, "must be a whole number, not True (bool)"),
        ({"new_tokens": [3, 2.5]}, "must be a whole number, not 2.5"),
        ({"new_tokens": "8"}, "must be a whole number, not '8' (str)"),
        ({"window": 2.5}, "window must be a whole number, not 2.5 (float)"),
        ({"window": True}, "window must be a whole number"),
        ({"window": "8"}, "window must be a whole number"),
        ({"decoder": 5}, "the decoder must be a name, a path that ends in .yaml, or a DecoderConfig"),
        ({"decoder": ["ar"]}, "the decoder must be a name"),
        ({"sampling": {"seed": 1}}, "sampling must be a vidjacobi.SamplingParams, not {'seed': 1} (dict)"),
        ({"clip_ids": "ab"}, "clip ids must be a list with one for each clip"),
        ({"clip_ids": [1, 2]}, "a clip id must be a name or (name, start, sample, chunk), not 1 (int)"),
        ({"clip_ids": [("a", 1, 2), "b"]}, "a clip id must be a name or"),
        (
            {"clip_ids": [("a", 1, 2.5, 0), "b"]},
            "start, sample and chunk of a clip id must be a whole number",
        ),
        ({"model": 5}, "the model (int) lacks device, dtype, forward"),
        ({"observe": 5}, "observe must be a function, not 5 (int)"),
        ({"watch": "x"}, "watch must be a function, not 'x' (str)"),
    ],
)
def test_other_types_in_decode(options: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"model": model(), "context": contexts(), "new_tokens": NEW}
    assert words in refusal(vidjacobi.decode, **{**arguments, **options})


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"temperature": "1"}, "temperature must be a number, not '1' (str)"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": 10**400}, "temperature is beyond every number"),
        ({"top_p": None}, "top-p must be a number, not None (NoneType)"),
        ({"top_k": 2.5}, "top-k must be a whole number, not 2.5"),
        ({"seed": "a"}, "the seed must be a whole number, not 'a'"),
        ({"seed": 1.0}, "the seed must be a whole number"),
    ],
)
def test_other_types_in_sampling(numbers: dict[str, Any], words: str) -> None:
    assert words in refusal(SamplingParams, **numbers)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rows": 2.5}, "rows must be a whole number"),
        ({"positions": "a"}, "positions must be a whole number"),
        ({"requests": 5}, "requests must be an iterable of vidjacobi.Request"),
        ({"requests": [(contexts()[0], 4)]}, "a request must be a vidjacobi.Request or None"),
        ({"request": {"context": [1, 2], "new_tokens": 4}}, "integer token ids"),
        ({"request": {"context": contexts()[0], "new_tokens": 2.5}}, "new tokens must be a whole number"),
        (
            {"request": {"context": contexts()[0], "new_tokens": 4, "samples": "ab"}},
            "samples must be a whole number",
        ),
        ({"request": {"context": contexts()[0], "new_tokens": 4, "start": "a"}}, "must be a whole number"),
        ({"request": {"context": contexts()[0], "new_tokens": 4, "name": 5}}, "a clip id must be a name"),
    ],
)
def test_other_types_in_a_queue(options: dict[str, Any], words: str) -> None:
    request = Request(**{"context": contexts()[0], "new_tokens": 4, **options.pop("request", {})})
    arguments = {"model": model(), "requests": [request], **options}
    assert words in refusal(lambda: list(vidjacobi.decode_each(**arguments)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": torch.zeros(1, 16, 24, 3, dtype=torch.uint8).numpy()}, "frames must be a uint8 tensor"),
        ({"frames": [1]}, "frames must be a uint8 tensor"),
        ({"frames": torch.zeros(16, 24, 3, dtype=torch.uint8)}, "frames must be uint8 [T H W 3]"),
        ({"new_frames": 2.5}, "frames must be a whole number"),
        ({"samples": True}, "samples must be a whole number"),
        ({"tokenizer": None}, "the tokenizer (NoneType) lacks encode, frame_size"),
        ({"clip_id": 5}, "clip_id must be a name"),
        ({"start": "a"}, "start must be a whole number"),
        ({"window": 2.5}, "window must be a whole number"),
    ],
)
def test_other_types_in_a_rollout(options: dict[str, Any], words: str) -> None:
    from own_model import BlockTokenizer, load

    from vidjacobi.runtime import choose

    frames = torch.zeros(1, 16, 24, 3, dtype=torch.uint8)
    arguments: dict[str, Any] = {"model": load(choose("cpu"))[0], "tokenizer": BlockTokenizer()}
    assert words in refusal(vidjacobi.rollout, **{**arguments, "frames": frames, "new_frames": 1, **options})


@pytest.mark.parametrize("name", ["seed", "widow"])
def test_a_word_that_rollout_does_not_know(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^rollout\(\) got an unexpected keyword argument '{name}'") as told:
        vidjacobi.rollout(None, None, None, **{name: 3})  # type: ignore
    assert ("sampling=vidjacobi.SamplingParams(seed=...)" in str(told.value)) == (name == "seed")


@pytest.mark.parametrize(
    "options",
    [
        *({"device": 5}, {"device": torch.device("cpu")}, {"device": "meta"}, {"dtype": torch.float32}),
        *({"dtype": ["float32"]}, {"name_or_path": 5}, {"compile": 5}, {"tokenizer": 5}),
        *({"name_or_path": "a" * 5000}, {"name_or_path": "a\0b"}),
    ],
)
def test_other_types_in_load(options: dict[str, Any]) -> None:
    with pytest.raises(VidjacobiError):
        vidjacobi.load(**options)


def test_other_types_around_models() -> None:
    assert "the guidance scale must be a number" in refusal(vidjacobi.Guided, model(), model(), "a")
    assert "a branch of guidance (int) lacks" in refusal(vidjacobi.Guided, model(), 5, 2.0)
    assert "the model (int) lacks" in refusal(vidjacobi.compiled, 5)


def test_whole_numbers_of_numpy_are_fine() -> None:
    sampling = SamplingParams(np.float64(0.5), np.float32(1.0), np.int32(4), np.int64(3))  # type: ignore[arg-type]
    assert sampling == SamplingParams(0.5, 1.0, 4, 3)
    assert type(sampling.seed) is int
    plain = vidjacobi.decode(model(), contexts(), NEW, window=4)
    for number in (np.int64, np.uint8):
        found = vidjacobi.decode(model(), contexts(), [number(NEW)] * 2, window=number(4))
        assert found.tokens.equal(plain.tokens)


@pytest.mark.parametrize("decoder", config_names("decoder"))
def test_a_window_is_clamped_to_what_there_is(decoder: str) -> None:
    """No wider window does more, and none takes more memory."""
    huge, large = (
        vidjacobi.decode(model(), contexts(), NEW, decoder, window=window) for window in (10**9, 4096)
    )
    assert huge.tokens.equal(large.tokens)
    assert huge.stats.nfe == large.stats.nfe
    recipe = choose_decoder(decoder, 10**9, SamplingParams()).recipe(model(), 18)
    assert recipe.window <= 200
    if recipe.parts:
        assert recipe.chain >= 18


@pytest.mark.parametrize("temperature", [5e-324, 1e-46, 1e-39, 3.5e38, 1e300])
@pytest.mark.parametrize("decoder", ["ar", "pathwise", "gs_sjd"])
def test_a_temperature_that_the_dtype_cannot_hold(temperature: float, decoder: str) -> None:
    """It made tokens that were all 0, or a traceback."""
    sampling = SamplingParams(temperature)
    for dtype in (torch.float32, torch.bfloat16):
        words = refusal(vidjacobi.decode, model(dtype), contexts(), NEW, decoder, sampling=sampling)
        assert "temperature must be 0 (greedy) or lie in [1.18e-38, 3.4e+38], the range of float32" in words
    requests = [Request(contexts()[0], 4)]
    assert "temperature" in refusal(
        lambda: list(vidjacobi.decode_each(model(), requests, decoder=decoder, sampling=sampling))
    )


def test_temperatures_at_the_ends_of_the_range() -> None:
    greedy = vidjacobi.decode(model(), contexts(), NEW, sampling=SamplingParams(0.0)).tokens
    for dtype, least in ((torch.float32, 1.2e-38), (torch.float64, 1e-300)):
        found = vidjacobi.decode(model(dtype), contexts(), NEW, sampling=SamplingParams(least)).tokens
        assert found.equal(greedy)
        assert found.unique().numel() > 1
    uniform = SamplingParams(3e38, top_p=1.0)
    tokens = vidjacobi.decode(model(), contexts(), NEW, sampling=uniform).tokens
    assert tokens.equal(vidjacobi.decode(model(), contexts(), NEW, "ar", sampling=uniform).tokens)


def test_the_command_refuses_it_before_anything_is_loaded(tmp_path: Path, capsys: Any) -> None:
    words = ["rollout", "--temperature", "1e-46", "--device", "cpu", "--dtype", "bfloat16"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "temperature must be 0 (greedy) or lie in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
