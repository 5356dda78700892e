"""iVideoGPT's clips of one chunk, context frames as tokens, in ``bench`` and ``eval``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from robot_sets import write_robot_set
from tiny_worlds import WIDTH, write_ivideogpt

import vidjacobi
from tests.eval.tiny_features import make_extractor
from vidjacobi.acting import load_acted
from vidjacobi.cli.main import main
from vidjacobi.errors import InvalidArgument
from vidjacobi.families.pairs import load_ivideogpt
from vidjacobi.families.prompts import first_tokens
from vidjacobi.models.codec import fit, frames_to_tokens
from vidjacobi.models.protocol import flatten
from vidjacobi.models.tokenizer import ContextTokenizer, check_lengths, latent_frames
from vidjacobi.runtime import choose
from vidjacobi.video.clips import write_video

GREEDY = vidjacobi.SamplingParams(temperature=0.0)
ACTIONS = torch.linspace(-1, 1, 5 * WIDTH).view(5, WIDTH)  # of 6 frames, 2 of them given


def clip(frames: int = 6) -> torch.Tensor:
    picture = torch.randint(
        0, 256, (1, 36, 32, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    return torch.cat([picture.roll(number, 2) for number in range(frames)])


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_ivideogpt(tmp_path_factory.mktemp("ivideogpt") / "weights", acted=True)


@pytest.mark.parametrize("acted", [True, False])
def test_tokens_are_those_of_the_model_that_is_made_for_the_clip(acted: bool, tmp_path: Path) -> None:
    """Greedily, since its noise lies at other positions. Without actions of the first frame: behind it the other
    model decides a delimiter, which is given here."""
    name = write_ivideogpt(tmp_path / "weights", acted)
    pair = load_ivideogpt(tmp_path / "weights", choose("cpu", "float64"))
    model, tokenizer, spec = load_acted(name, "cpu", "float64", one_chunk=True)
    grid = frames_to_tokens([clip(2)], tokenizer)
    assert grid.shape == (1, 32, 4, 4)
    contexts = pair.contexts((fit(clip(2), (32, 32)).transpose(0, 1) + 1) / 2)
    given = None if spec is None else [spec.condition(ACTIONS)]
    other = pair.model_of(contexts, ACTIONS[1:] if acted else None, 4)
    count = 64 if acted else 16
    wanted = vidjacobi.decode(other, first_tokens(other, 1), count, "ar", sampling=GREEDY).tokens
    for decoder, window in (("ar", None), ("pathwise", 16)):
        found = vidjacobi.decode(
            model, flatten(model, grid), 64, decoder, window, GREEDY, conditions=given
        ).tokens
        assert torch.equal(found[:, :count], wanted)
    sampled = vidjacobi.SamplingParams(1.0, 1.0, 100, seed=3)
    one, two = (
        vidjacobi.decode(model, flatten(model, grid), 64, how, 7, sampled, conditions=given).tokens
        for how in ("pathwise", "ar")
    )
    assert torch.equal(one, two)
    whole = torch.cat([grid, found.view(1, -1, 4, 4)], 1)
    made = pair.tokenizer.pixels(contexts, found.view(1, 4, 16))
    assert torch.equal(tokenizer.to_frames(whole), made.transpose(1, 2))


def test_frames_and_latent_frames(acting: str) -> None:
    _, tokenizer, spec = load_acted(acting, "cpu", "float32", one_chunk=True)
    assert isinstance(tokenizer, ContextTokenizer)
    assert [latent_frames(count, tokenizer) for count in (2, 3, 6)] == [32, 33, 36]
    assert frames_to_tokens([clip()], tokenizer).shape == (1, 36, 4, 4)
    with pytest.raises(
        InvalidArgument, match="a context of 3 frames does not fit the video tokenizer: use 2"
    ):
        check_lengths(3, 4, 1, tokenizer)
    assert spec is not None
    with pytest.raises(InvalidArgument, match=r"actions of 4 new frames must be \[4, 3\], not \[4, 2\]"):
        spec.condition(ACTIONS[:, :2])
    with pytest.raises(InvalidArgument, match="1 frame of a clip that begins with 2 context frames"):
        frames_to_tokens([clip(1)], tokenizer)
    with pytest.raises(InvalidArgument, match="these tokens have none"):
        tokenizer.to_frames(frames_to_tokens([clip(2)], tokenizer))


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("acted", [True, False])
def test_bench(acted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write_ivideogpt(tmp_path / "weights", acted)
    write_video(tmp_path / "clip.mp4", clip(), 10)
    words = ["bench", str(tmp_path / "clip.mp4"), "--models", name, "--frames", "4", "--decoders", "pathwise"]
    words += ["--windows", "8", "--dtype", "float32", "--out", str(tmp_path / "out")]
    assert main([*words, "--context", "9"]) == 2
    assert "use 2" in capsys.readouterr().err
    words += ["--context", "2"]
    if acted:
        assert main(words) == 2
        assert "frames of this model follow actions" in capsys.readouterr().err
        np.save(tmp_path / "clip.npy", np.linspace(-1, 1, 6 * WIDTH).reshape(6, WIDTH))
    assert main(words) == 0
    said = capsys.readouterr()
    assert "is sampled otherwise here than by its authors: give top_p=1 top_k=100 for theirs" in said.err
    rows = json.loads(said.out.splitlines()[-1])["summary"]
    assert [(row["decoder"], row["ar_agreement"]) for row in rows] == [("ar", 1.0), ("pathwise", 1.0)]
    assert (rows[0]["passes"], rows[1]["passes"] < 64) == (64, True)
    assert (tmp_path / "out" / "map_pathwise.png").exists()
    assert main([*words, "top_k=100", "top_p=1"]) == 2
    assert "top_k: None there, 100 here" in capsys.readouterr().err
    assert main([*words, "--frames", "9", "--out", str(tmp_path / "far")]) == 2
    assert "ask for fewer --frames" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.unchecked
def test_eval(tmp_path: Path) -> None:
    """Of a dataset with actions: tokens of the library, references and frames."""
    from vidjacobi.eval.run import evaluate
    from vidjacobi.eval.settings import load_eval

    data, name = (
        write_robot_set(tmp_path / "set", codec="png"),
        write_ivideogpt(tmp_path / "w", True, width=2),
    )
    extractor = make_extractor()
    extractor = replace(extractor, protocol={**extractor.protocol, "least_frames": 5})
    flags: dict[str, Any] = {
        "data": str(data),
        "dataset": "lerobot",
        "model": name,
        "dtype": "float32",
        "context": 2,
    }
    flags |= {"frames": 3, "clips": 2, "draws": 20, "videos": 0, "shown": "all", "decoders": ["pathwise"]}
    flags |= {"windows": [8], "device": "cpu"}
    with pytest.raises(InvalidArgument, match="use 2"):
        evaluate(
            load_eval("quick", flags | {"context": 1, "frames": 4}),
            tmp_path / "one",
            lambda _: None,
            extractor,
        )
    found = evaluate(load_eval("quick", flags), tmp_path / "out", lambda _: None, extractor)
    lines = {line["decoder"]: line for line in found}
    assert {"ar", "pathwise", "frozen", "tokenizer"} <= set(lines)
    assert lines["pathwise"]["ar_agreement"] == 1
    assert np.load(tmp_path / "out" / "contexts.npy").shape == (2, 32, 4, 4)
    assert np.load(tmp_path / "out" / "actions.npy").shape == (2, 4, 2)
