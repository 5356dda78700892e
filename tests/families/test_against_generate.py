"""Families on tiny random networks: tokens of every exact decoder are those of ``transformers``' own ``generate``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_nets as nets
import torch
from tiny_pictures import write_vq
from torch import Tensor

import vidjacobi
from vidjacobi import SamplingParams
from vidjacobi.decoding.compiled import compiled
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families import llamagen_pixels
from vidjacobi.families.chameleon import Chameleon
from vidjacobi.families.emu3 import Emu3
from vidjacobi.families.glm_image import GlmImage
from vidjacobi.families.gpt_blocks import GptBlocks
from vidjacobi.families.imagegpt import ImageGPT
from vidjacobi.families.janus import Janus
from vidjacobi.families.model import RiderModel
from vidjacobi.families.opening import open_family
from vidjacobi.families.prompts import behind, first_tokens
from vidjacobi.families.simplear import SimpleAR
from vidjacobi.families.trunk import Trunk
from vidjacobi.kinds import Grid
from vidjacobi.models.protocol import VideoModel
from vidjacobi.runtime import choose
from vidjacobi.testing import check_model

slow = pytest.mark.slow
GREEDY = SamplingParams(temperature=0.0)
DECODERS = ("pathwise", "fast", "sjd", "mc_sjd", "gs_sjd", "sjd_pac", "jacobi", "alpha", "adaptive")


def tokens(
    model: VideoModel, clips: int, decoder: str, window: int | None = None, sampling: SamplingParams = GREEDY
) -> Tensor:
    count = model.grid_for(1).tokens
    return vidjacobi.decode(model, first_tokens(model, clips), count, decoder, window, sampling).tokens


def check(model: VideoModel, wanted: Tensor, decoders: tuple[str, ...] = DECODERS) -> None:
    """AR and all exact decoders decide the reference's tokens; sampled, ``pathwise`` decides AR's."""
    rows = len(wanted)
    assert torch.equal(tokens(model, rows, "ar"), wanted)
    for decoder in decoders:
        for window in (None,) if decoder == "adaptive" else (5, 16):
            assert torch.equal(tokens(model, rows, decoder, window), wanted), (decoder, window)
    sampled = SamplingParams(temperature=1.0, top_p=0.9, seed=3)
    for window in (4, 7, 32):
        found = tokens(model, rows, "pathwise", window, sampled)
        assert torch.equal(found, tokens(model, rows, "ar", None, sampled))


def janus_model(network: Any, prompts: list[list[int]], scale: float = 5.0) -> VideoModel:
    return Janus(network).images(prompts, nets.BEGIN, nets.IMAGE, nets.PAD, scale)


@slow
def test_janus() -> None:
    network, prompts = nets.janus(), [[1, 20, 21, 22, 7], [1, 30, 31, 32, 7]]
    ids = torch.tensor(prompts)
    options = {"attention_mask": torch.ones_like(ids), "generation_mode": "image", "do_sample": False}
    check(janus_model(network, prompts), network.generate(input_ids=ids, guidance_scale=5.0, **options))


@slow
def test_janus_with_prompts_of_other_lengths() -> None:
    """``generate`` pads them on the left; here nothing is padded."""
    network, prompts = nets.janus(), [[1, 20, 21, 22, 7], [1, 30, 7]]
    ids = torch.tensor([prompts[0], [3, 3, *prompts[1]]])
    options = {"attention_mask": (ids != 3).long(), "generation_mode": "image", "do_sample": False}
    wanted = network.generate(input_ids=ids, guidance_scale=5.0, **options)
    check(janus_model(network, prompts), wanted, ("pathwise",))


@slow
def test_janus_makes_pictures() -> None:
    network = nets.janus()
    found = tokens(janus_model(network, [[1, 20, 7]]), 1, "pathwise", 5)
    pixels = Janus(network).pixels(found)
    assert pixels.shape == (1, 3, 8, 8)
    wanted = network.decode_image_tokens(found).permute(0, 3, 1, 2) / 2 + 0.5
    assert torch.allclose(pixels, wanted.clamp(0, 1).float(), atol=1e-6)


@slow
def test_llamagen_s_image_tokenizer_is_that_of_janus(tmp_path: Path) -> None:
    """Under the names of the authors' code."""
    network = nets.janus().model.vqmodel.float()
    write_vq(tmp_path)
    found = llamagen_pixels.load(tmp_path, choose("cpu", "float32"))
    codes = torch.arange(16)[None]
    wanted = (network.decode(codes) / 2 + 0.5).clamp(0, 1)
    assert torch.equal(found.pixels(codes), wanted)
    with pytest.raises(InvalidArgument, match="15 cells are no square"):
        found.pixels(codes[:, :15])
    torch.save({"model": {"conv.weight": torch.zeros(3)}}, tmp_path / "vq.pt")
    with pytest.raises(BadCheckpoint, match="is no image tokenizer of LlamaGen"):
        llamagen_pixels.load(tmp_path, choose("cpu", "float32"))


HEIGHT, WIDTH = 4, 5
IDS = nets.EMU3
EMU3_PROMPT = [IDS["bos"], 3, 4, 5, IDS["boi"], 10, 11, 12, IDS["img"]]
EMU3_NEGATIVE = [IDS["bos"], 6, IDS["boi"], 10, 11, 12, IDS["img"]]


def emu3_generated(network: Any, guided: bool) -> Tensor:
    """As the model's page says: which ids are allowed at each place."""
    closing = [IDS["eof"], IDS["eoi"], IDS["eos"]]
    visual = network.vocabulary_mapping.image_tokens

    def allowed(_: int, ids: Tensor) -> list[int]:
        place = len(ids) - int((ids == IDS["img"]).nonzero()[0])
        if place % (WIDTH + 1) == 0:
            return [IDS["eol"]]
        after = place - (WIDTH + 1) * HEIGHT - 1
        return visual if after < 0 else [closing[after]]

    options: dict[str, Any] = {}
    if guided:
        negative = torch.tensor([EMU3_NEGATIVE])
        options = {"guidance_scale": 3.0, "negative_prompt_ids": negative}
        options["negative_prompt_attention_mask"] = torch.ones_like(negative)
    ids = torch.tensor([EMU3_PROMPT])
    count = HEIGHT * (WIDTH + 1) + 3
    made = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        prefix_allowed_tokens_fn=allowed,
        do_sample=False,
        **options,
    )
    return made[0, len(EMU3_PROMPT) :]


@slow
@pytest.mark.parametrize("guided", [False, True])
def test_emu3(guided: bool) -> None:
    """Guided against a prompt that is two tokens shorter."""
    network = nets.emu3()
    made = emu3_generated(network, guided)
    cells = made[:-3].view(HEIGHT, WIDTH + 1)[:, :-1].reshape(1, -1)
    family = Emu3(network)
    model = family.images([EMU3_PROMPT], HEIGHT, WIDTH, EMU3_NEGATIVE if guided else None)
    check(model, cells - nets.EMU3_FIRST, DECODERS if guided else ("pathwise", "fast"))
    wanted = network.decode_image_tokens(image_tokens=made[None], height=HEIGHT, width=WIDTH)
    found = family.pixels(cells - nets.EMU3_FIRST, HEIGHT, WIDTH)
    assert torch.allclose(found, (wanted / 2 + 0.5).clamp(0, 1).float(), atol=1e-6)


@slow
def test_chameleon_text() -> None:
    network, prompts = nets.chameleon(), [[0, 50, 51, 52], [0, 60, 61, 62]]
    ids = torch.tensor(prompts)
    wanted = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=18, do_sample=False
    )[:, 4:]
    check(Chameleon(network).text(prompts, 18), wanted)


class LuminaRules:
    """Row ends where they belong, image tokens elsewhere, guided from the image's beginning on."""

    def __init__(self, network: Any, prompt: int, width: int, scale: float) -> None:
        self.network, self.prompt, self.width, self.scale = network, prompt, width, scale

    def logits(self, ids: Tensor) -> Tensor:
        """The plain forward call without the masking of image tokens, both branches anew."""
        both = [
            self.network.lm_head(self.network.model(input_ids=part).last_hidden_state[:, -1])
            for part in (ids, ids[:, self.prompt :])
        ]
        return both[1] + self.scale * (both[0] - both[1])

    def next(self, ids: Tensor) -> int:
        place = ids.shape[1] - self.prompt - 3
        if place % (self.width + 1) == self.width:
            return LUMINA["row_end"]
        codes = self.logits(ids)[0, nets.CHAMELEON_FIRST : nets.CHAMELEON_FIRST + nets.CODES]
        return nets.CHAMELEON_FIRST + int(codes.argmax())


LUMINA = {"size": 70, "row_end": 69}


@slow
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_lumina(scale: float) -> None:
    """Against a loop over plain forward calls: ``generate`` of this class can make no image token."""
    network, prompt, start = nets.chameleon(), [0, 50, 51, 52], 91
    ids = torch.tensor([[*prompt, start, LUMINA["size"] + 2, LUMINA["size"] + 3]])
    rules, begun = LuminaRules(network, len(prompt), 6, scale), ids.shape[1]
    with torch.no_grad():
        while ids.shape[1] < begun + 4 * 7:
            ids = torch.cat([ids, torch.tensor([[rules.next(ids)]])], 1)
    cells = ids[:, begun:].view(4, 7)[:, :-1].reshape(1, -1)
    family = Chameleon(network, **LUMINA)
    model = family.images([prompt], start, 4, 6, scale)
    check(model, cells - nets.CHAMELEON_FIRST, DECODERS if scale > 1 else ("pathwise",))
    assert family.codes(cells - nets.CHAMELEON_FIRST).min() >= 0
    with pytest.raises(InvalidArgument, match="even numbers of cells, not 3x6"):
        family.images([prompt], start, 3, 6)


@slow
@pytest.mark.parametrize("guided", [False, True])
def test_simplear(guided: bool) -> None:
    network, prompt, negative = nets.qwen2(), [1, 5, 6, 7, 8], [1, 9, 8]
    ids = torch.tensor([prompt])
    options: dict[str, Any] = {}
    if guided:
        options = {"guidance_scale": 6.0, "negative_prompt_ids": torch.tensor([negative])}
        options["negative_prompt_attention_mask"] = torch.ones(1, len(negative), dtype=torch.long)
    wanted = network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, **options
    )[:, len(prompt) :]
    family = SimpleAR(network, nets.SIMPLEAR_FIRST)
    check(family.images([prompt], 4, negative if guided else None), wanted, DECODERS if guided else ("fast",))
    assert family.codes(wanted).max() < nets.CODES


@slow
@pytest.mark.parametrize("size", [(4, 4), (4, 6)])
def test_glm_image(size: tuple[int, int]) -> None:
    """A preview of half the size, then the picture; the rotary embedding has three parts."""
    network, prompt = nets.glm_image(), [1, 20, 21, 22, 91]
    preview, ids = (size[0] // 2, size[1] // 2), torch.tensor([[1, 20, 21, 22, 91]])
    grids = torch.tensor([[1, *size], [1, *preview]])  # the last of them comes first
    count = size[0] * size[1] + preview[0] * preview[1]
    made = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        image_grid_thw=grids,
        images_per_sample=torch.tensor([2]),
        max_new_tokens=count,
        do_sample=False,
    )[:, ids.shape[1] :]
    assert made.shape == (1, count)
    check(GlmImage(network).images([prompt], preview, size), made)


def generated(network: Any, prompt: list[int], count: int) -> Tensor:
    ids = torch.tensor([prompt])
    return network.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
    )[:, len(prompt) :]


@slow
@pytest.mark.parametrize("scaled", [False, True])
def test_gpt2_through_its_blocks(scaled: bool) -> None:
    """Of the two ways in which its scores are scaled."""
    network, prompt, cells = nets.gpt2(), [1, 20, 21, 22], torch.zeros(20, dtype=torch.long)
    for number, block in enumerate(network.transformer.h):
        block.attn.scale_attn_by_inverse_layer_idx = scaled
        block.attn.scaling = block.attn.head_dim**-0.5 / (number + 1 if scaled else 1)
    table = network.transformer.wte
    trunk = Trunk(GptBlocks(network.transformer), table, network.lm_head, 60)
    model = RiderModel(trunk, Grid(1, 4, 5), cells, [behind(table, prompt, cells)])
    check(model, generated(network, prompt, 20), DECODERS if scaled else ("fast",))


@slow
def test_imagegpt() -> None:
    """Its last pixel stands where it has learned no place, and is never fed. ``generate`` stays as it was."""
    network = nets.imagegpt()
    family, wanted = ImageGPT(network), generated(network, [nets.CODES], 16)
    check(family.images(), wanted)
    assert torch.equal(generated(network, [nets.CODES], 16), wanted)
    with pytest.raises(InvalidArgument, match=r"no preprocessor_config\.json"):
        family.pixels(wanted)
    half = torch.cat([torch.tensor([[nets.CODES]]), wanted[:, :8].flip(1)], 1)
    rest = vidjacobi.decode(family.images(), half, 8, "pathwise", 5, GREEDY).tokens
    assert torch.equal(rest, generated(network, half[0].tolist(), 8))


BUILDERS: dict[str, Callable[[], Any]] = {
    "janus": nets.janus,
    "emu3": nets.emu3,
    "chameleon": nets.chameleon,
    "simplear": nets.qwen2,
    "glm_image": nets.glm_image,
    "imagegpt": nets.imagegpt,
}


def one_clip(name: str) -> VideoModel:
    """A model of one prompt, not guided."""
    if name == "janus":
        return janus_model(nets.janus(), [[1, 20, 7]], scale=1.0)
    if name == "emu3":
        return Emu3(nets.emu3()).images([EMU3_PROMPT], HEIGHT, WIDTH)
    if name == "chameleon":
        return Chameleon(nets.chameleon(), **LUMINA).images([[0, 50]], 91, 4, 6, 1.0)
    if name == "imagegpt":
        return ImageGPT(nets.imagegpt()).images()
    if name == "glm_image":
        return GlmImage(nets.glm_image()).images([[1, 20, 91]], (2, 2), (4, 4))
    return SimpleAR(nets.qwen2(), nets.SIMPLEAR_FIRST).images([[1, 5]], 4)


@slow
@pytest.mark.unchecked
@pytest.mark.parametrize("name", BUILDERS)
def test_families_keep_the_promises_of_a_model(name: str) -> None:
    check_model(one_clip(name))


@slow
@pytest.mark.unchecked
@pytest.mark.parametrize("name", ["glm_image", "chameleon", "imagegpt"])
def test_passes_compile_as_one_function(name: str) -> None:
    """With a rotary embedding of three parts, and with row ends."""
    model = one_clip(name)
    assert torch.equal(tokens(compiled(model, backend="eager"), 1, "pathwise", 6), tokens(model, 1, "ar"))


@slow
@pytest.mark.parametrize("name", BUILDERS)
def test_saved_networks_are_read_whole(name: str, tmp_path: Path) -> None:
    """And refused where a tensor is missing, which ``transformers`` fills with noise."""
    from safetensors.torch import load_file, save_file

    network = BUILDERS[name]()
    network.save_pretrained(tmp_path)
    found = open_family(name, tmp_path, "cpu", "float64").network
    for key, tensor in network.state_dict().items():
        assert torch.equal(found.state_dict()[key], tensor), key
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    projection = ("layers.0.self_attn.o_proj.weight", "h.0.attn.c_proj.weight")
    lost = next(key for key in state if key.endswith(projection))
    state.pop(lost)
    save_file(state, file, {"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"missing_keys \(1\): .*[oc]_proj.weight"):
        open_family(name, tmp_path, "cpu", "float64")


@slow
def test_lumina_is_published_without_an_image_encoder(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    network = nets.chameleon()
    network.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    kept = {name: part for name, part in state.items() if not name.startswith("model.vqmodel.")}
    assert len(kept) < len(state)
    save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    found = open_family("chameleon", tmp_path, "cpu", "float64").network
    assert torch.equal(found.lm_head.weight, network.lm_head.weight)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for name in BUILDERS:
        with pytest.raises(BadCheckpoint, match=r"has no config\.json.* Published: the hub's"):
            open_family(name, tmp_path, "cpu")
