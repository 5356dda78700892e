"""Families against tensors that the authors' own code made: logits, and greedy tokens of every exact decoder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vidjacobi
from vidjacobi import SamplingParams
from vidjacobi.errors import InvalidArgument
from vidjacobi.families import ivideogpt_pixels, mineworld
from vidjacobi.families.ivideogpt import IVideoGPT
from vidjacobi.families.opening import open_family
from vidjacobi.families.prompts import first_tokens
from vidjacobi.models.protocol import VideoModel
from vidjacobi.models.tokenizer import VideoTokenizer
from vidjacobi.runtime import choose

GREEDY = SamplingParams(temperature=0.0)
DECODERS = ("pathwise", "fast", "sjd", "mc_sjd", "gs_sjd", "sjd_pac", "jacobi", "alpha")


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    return shared / "golden"


def tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "golden.safetensors")


def greedy(
    model: VideoModel, context: Tensor, count: int, decoder: str = "ar", window: int | None = None
) -> Tensor:
    return vidjacobi.decode(model, context, count, decoder, window, GREEDY).tokens


def check(model: VideoModel, context: Tensor, wanted: Tensor, decoders: tuple[str, ...] = DECODERS) -> None:
    """AR and every exact decoder at two windows decide the authors' tokens; sampled, ``pathwise`` decides AR's."""
    wanted = wanted.long()
    sampled, count = SamplingParams(temperature=1.0, top_p=0.9, seed=3), wanted.shape[1]
    own = vidjacobi.decode(model, context, count, "ar", sampling=sampled).tokens
    assert torch.equal(vidjacobi.decode(model, context, count, "pathwise", 7, sampled).tokens, own)
    assert torch.equal(greedy(model, context, wanted.shape[1]), wanted)
    for decoder in decoders:
        for window in (5, 16):
            found = greedy(model, context, wanted.shape[1], decoder, window)
            assert torch.equal(found, wanted), (decoder, window)


def given_logits(model: VideoModel, tokens: Tensor, keep: int) -> Tensor:
    cache = model.make_cache(len(tokens), tokens.shape[1])
    return torch.cat(list(model.prefill(tokens, cache, keep)), 1)


@pytest.mark.slow
def test_mineworld(golden: Path) -> None:
    folder = golden / "mineworld" / "small"
    wanted, family = tensors(folder), open_family("mineworld", folder / "model.safetensors", "cpu", "float32")
    model = family.world(wanted["actions"][None])
    assert model.prefix_tokens == ()
    check(model, wanted["context"].long(), wanted["greedy"])
    # contexts of a frame, and of a frame and five cells more, in one batch
    first, rest = wanted["context"][0].long(), wanted["greedy"][0].long()
    contexts = [first, torch.cat([first, rest[:5]])]
    found = vidjacobi.decode(model, contexts, [48, 43], "pathwise", 9, GREEDY).tokens
    assert torch.equal(found[0], rest)
    assert torch.equal(found[1, :43], rest[5:])
    whole = torch.cat([wanted["context"], wanted["greedy"]], 1).long()
    logits = given_logits(model, whole[:, :-1], 48)[0]
    assert (logits - wanted["logits"][:, :48]).abs().max() < 1e-4


@pytest.mark.slow
def test_mineworld_of_released_frames(golden: Path) -> None:
    folder = golden / "mineworld" / "full"
    wanted, family = tensors(folder), open_family("mineworld", folder / "model.safetensors", "cpu", "float32")
    model, context = family.world(wanted["actions"][None]), wanted["context"].long()
    assert torch.equal(greedy(model, context, 1008, "pathwise", 64), wanted["greedy"].long())
    whole = torch.cat([context, wanted["greedy"].long()], 1)
    logits = given_logits(model, whole[:, :-1], 1008)[0]
    # a sequence position counts the action tokens of the frames before it, a cell does not
    place = wanted["logit_positions"].long()
    cells = place - place // 347 * 11 - 336
    assert (logits[cells] - wanted["logits"][:, :8192]).abs().max() < 1e-4


@pytest.mark.slow
def test_mineworld_pixels(golden: Path, tmp_path: Path) -> None:
    source = golden / "mineworld" / "full"
    wanted = tensors(source)
    shutil.copy(source / "vae_config.json", tmp_path / "config.json")
    shutil.copy(source / "vae.safetensors", tmp_path / "vae.safetensors")
    tokenizer = mineworld.load_tokenizer(tmp_path, choose("cpu", "float32"))
    assert isinstance(tokenizer, VideoTokenizer)
    frame = wanted["greedy"][:, :336].long().view(1, 1, 14, 24)
    pixels = (tokenizer.to_frames(frame)[0, :, 0] * 255).to(torch.uint8).permute(1, 2, 0)
    assert (pixels.int() - wanted["pixels_of_first_new_frame"].int()).abs().max() <= 1
    picture = wanted["encode_coarse"].repeat_interleave(16, 2).repeat_interleave(16, 3)
    codes = tokenizer.encode(picture[:, :, None])[:, 0]
    assert (codes != wanted["encode_codes"]).sum() <= 2
    with pytest.raises(InvalidArgument, match="are not among the 8192 there are"):
        tokenizer.to_frames(frame + 8192)


@pytest.fixture(scope="session")
def ivideogpt(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> IVideoGPT:
    """The transformer in a folder as it is published."""
    source, folder = golden / "ivideogpt" / "ctx2", tmp_path_factory.mktemp("transformer")
    sizes = json.loads((source / "config.json").read_text())["transformer"]
    (folder / "config.json").write_text(json.dumps(sizes))
    shutil.copy(source / "transformer.safetensors", folder / "model.safetensors")
    return open_family("ivideogpt", folder, "cpu", "float32")


@pytest.mark.slow
def test_ivideogpt_pixels(golden: Path, tmp_path: Path) -> None:
    """There, back, and back from the tokens that the transformer decides."""
    source = golden / "ivideogpt" / "ctx2"
    wanted = tensors(source)
    (tmp_path / "config.json").write_text(
        json.dumps(json.loads((source / "config.json").read_text())["tokenizer"])
    )
    shutil.copy(source / "tokenizer.safetensors", tmp_path / "model.safetensors")
    tokenizer = ivideogpt_pixels.load(tmp_path, choose("cpu", "float32"))
    clip = wanted["pixels_coarse"].repeat_interleave(8, 3).repeat_interleave(8, 4)
    contexts, found = tokenizer.contexts(clip[:, :2]), wanted["tokens"].long()
    assert torch.equal(contexts, found[:, :514])
    new = tokenizer.ids(clip)
    assert torch.equal(new, found[:, 513:].view(1, 3, 17)[..., 1:])
    assert (tokenizer.pixels(contexts, new) - wanted["reconstruction"].float().clamp(0, 1)).abs().max() < 2e-3
    for kind in ("action_free", "action_conditioned"):
        decided = torch.cat([torch.zeros(1, 1), wanted[f"greedy_{kind}"]], 1).long().view(1, 3, 17)[..., 1:]
        pixels = tokenizer.pixels(contexts, decided)
        assert (pixels - wanted[f"pixels_{kind}"].float()).abs().max() < 2e-3
    with pytest.raises(InvalidArgument, match="context frames must be"):
        tokenizer.contexts(clip)


@pytest.mark.slow
def test_ivideogpt_without_actions(golden: Path, ivideogpt: IVideoGPT) -> None:
    wanted = tensors(golden / "ivideogpt" / "ctx2")
    model = ivideogpt.free(wanted["tokens"][:, :514].long(), 3)
    check(model, first_tokens(model, 1), wanted["greedy_action_free"])
    whole = torch.cat([first_tokens(model, 1), wanted["greedy_action_free"].long()], 1)
    logits = given_logits(model, whole[:, :-1], 50)[0]
    assert (logits - wanted["logits_action_free"]).abs().max() < 1e-4


@pytest.mark.slow
def test_ivideogpt_with_actions(golden: Path, ivideogpt: IVideoGPT) -> None:
    """The authors' tokens hold the delimiters that were given."""
    wanted = tensors(golden / "ivideogpt" / "ctx2")
    given = torch.arange(50) % 17 == 16
    assert (wanted["greedy_action_conditioned"][0, given] == ivideogpt.delimiter).all()
    model = ivideogpt.acted(wanted["tokens"][:, :514].long(), wanted["actions"][:, 1:4])
    cells = wanted["greedy_action_conditioned"][:, ~given].long()
    check(model, first_tokens(model, 1), cells)
    whole = torch.cat([first_tokens(model, 1), cells], 1)
    logits = given_logits(model, whole[:, :-1], 48)[0]
    assert (logits - wanted["logits_action_conditioned"][~given]).abs().max() < 1e-4
    assert ivideogpt.frame_codes(cells).max() < 64
    with pytest.raises(InvalidArgument, match="end with the delimiter of a new frame, 129"):
        ivideogpt.free(wanted["tokens"][:, :513].long(), 3)


@pytest.mark.parametrize("kind", ["c2i", "t2i"])
@pytest.mark.slow
def test_llamagen(golden: Path, kind: str) -> None:
    folder = golden / "llamagen" / kind
    wanted, family = tensors(folder), open_family("llamagen", folder / "model.safetensors", "cpu", "float32")

    def model(scale: float, cells: int | None = None) -> VideoModel:
        if kind == "c2i":
            return family.of_classes(wanted["classes"].tolist(), scale, cells)
        return family.of_captions(wanted["caption_features"], wanted["caption_mask"].bool(), scale, cells)

    for scale in (1.0, 4.0):
        own = model(scale)
        check(own, first_tokens(own, 2), wanted[f"greedy_cfg_{scale:.0f}"])
    ending = model(4.0, 7)
    check(
        ending, first_tokens(ending, 2), wanted["greedy_cfg_4_interval_5"], ("pathwise", "gs_sjd", "sjd_pac")
    )
    assert not torch.equal(wanted["greedy_cfg_4_interval_5"], wanted["greedy_cfg_4"])
