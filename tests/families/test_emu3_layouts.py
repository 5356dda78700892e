"""Emu3.5 and UniVLA: their tokens are those of ``generate``, and their folders are read strictly."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_nets as nets
import torch
from tiny_pictures import write_emu3_tokens
from torch import Tensor

import vidjacobi
from vidjacobi import SamplingParams
from vidjacobi.errors import BadCheckpoint, InvalidArgument
from vidjacobi.families.emu3_layouts import FRAME_END, ROW_END, VISUAL, Emu3Tokens, Order
from vidjacobi.families.opening import open_family
from vidjacobi.families.prompts import first_tokens
from vidjacobi.models.protocol import VideoModel

HEIGHT, WIDTH, FRAMES, END = 3, 4, 3, nets.EMU3["eol"]
PROMPT, NEGATIVE = [27, 3, 4, 5, 21, 10, 23], [27, 6, 21, 10, 23]
IMAGE, VIDEO = Order(END, None, nets.EMU3_FIRST), Order(None, END, nets.EMU3_FIRST)


def generated(network: Any, every: int, cells: int, **options: Any) -> Tensor:
    """Cells as ``generate`` makes them where each ``every`` of them are followed by an end, but the last."""
    visual = list(range(nets.EMU3_FIRST, nets.EMU3_FIRST + nets.CODES))
    ids = torch.tensor([PROMPT])

    def allowed(_: int, so_far: Tensor) -> list[int]:
        return [END] if (len(so_far) - len(PROMPT)) % (every + 1) == every else visual

    made = network.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=cells + cells // every - 1,
        prefix_allowed_tokens_fn=allowed,
        do_sample=False,
        **options,
    )[:, len(PROMPT) :]
    return made[made != END][None] - nets.EMU3_FIRST


def check(model: VideoModel, wanted: Tensor, decoders: tuple[str, ...]) -> None:
    """Greedy, AR and the others decide what was wanted; sampled, ``pathwise`` decides AR's tokens."""

    def tokens(decoder: str, window: int | None, sampling: SamplingParams) -> Tensor:
        count, context = wanted.shape[1], first_tokens(model, 1)
        return vidjacobi.decode(model, context, count, decoder, window, sampling).tokens

    greedy, sampled = SamplingParams(temperature=0.0), SamplingParams(1.0, 0.9, seed=3)
    assert torch.equal(tokens("ar", None, greedy), wanted)
    for decoder in decoders:
        for window in (5, 16):
            assert torch.equal(tokens(decoder, window, greedy), wanted), (decoder, window)
    assert torch.equal(tokens("pathwise", 7, sampled), tokens("ar", None, sampled))


@pytest.mark.slow
def test_emu3_5_guided() -> None:
    """Rows end with a token, the last one with the image; the layers are Qwen3's."""
    network, negative = nets.qwen3(), torch.tensor([NEGATIVE])
    options = {"negative_prompt_ids": negative, "negative_prompt_attention_mask": torch.ones_like(negative)}
    wanted = generated(network, WIDTH, HEIGHT * WIDTH, guidance_scale=5.0, **options)
    model = Emu3Tokens(network, IMAGE).images([PROMPT], HEIGHT, WIDTH, NEGATIVE)
    check(model, wanted, ("pathwise", "sjd_pac"))


@pytest.mark.slow
def test_univla() -> None:
    """Frames end with a token, rows do not; a clip may go on from its first frame."""
    network, frame = nets.llama(), HEIGHT * WIDTH
    wanted = generated(network, frame, FRAMES * frame)
    model = Emu3Tokens(network, VIDEO).clips([PROMPT], FRAMES, HEIGHT, WIDTH)
    check(model, wanted, ("fast",))
    begun = torch.cat([first_tokens(model, 1), wanted[:, :frame]], 1)
    rest = vidjacobi.decode(model, begun, 2 * frame, "fast", 16, SamplingParams(temperature=0.0)).tokens
    assert torch.equal(rest, wanted[:, frame:])


def test_orders() -> None:
    with pytest.raises(InvalidArgument, match="makes one picture, not 2 frames"):
        IMAGE.between(vidjacobi.Grid(2, 2, 2))
    cells, ends = VIDEO.between(vidjacobi.Grid(2, 1, 2))
    assert (cells.tolist(), ends) == ([0, 1, 0, 0], [END])
    cells, ends = IMAGE.between(vidjacobi.Grid(1, 2, 2))
    assert (cells.tolist(), ends) == ([0, 1, 0, 0], [END])


@pytest.mark.parametrize("name", ["emu3_5", "univla"])
def test_folders_are_read_strictly(name: str, tmp_path: Path) -> None:
    """The authors' config names a class of their own."""
    from safetensors.torch import load_file, save_file

    network, said = write_emu3_tokens(tmp_path, name)
    file = tmp_path / "config.json"
    family = open_family(name, tmp_path, "cpu", "float32")
    ids = torch.tensor([[1, 2, VISUAL + 3]])
    assert torch.equal(family.network(input_ids=ids).logits, network(input_ids=ids).logits)
    assert family.clips([[1, 2]], 1, 2, 2).vocab_size == 6
    assert (family.order.row_end, family.order.frame_end) == (
        (ROW_END, None) if name == "emu3_5" else (None, FRAME_END)
    )
    for key, value, words in (
        ("rope_scaling", {"type": "linear"}, "rope_scaling"),
        ("vocab_size", 9, "have no codes"),
    ):
        file.write_text(json.dumps(said | {key: value}))
        with pytest.raises(BadCheckpoint, match=words):
            open_family(name, tmp_path, "cpu", "float32")
    file.write_text(json.dumps({"model_type": "Emu3"}))
    with pytest.raises(BadCheckpoint, match=r"lacks vocab_size.*all model-\*\.safetensors"):
        open_family(name, tmp_path, "cpu", "float32")
    file.write_text(json.dumps(said))
    state = load_file(tmp_path / "model.safetensors")
    state.pop("model.layers.0.mlp.up_proj.weight")
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadCheckpoint, match="up_proj"):
        open_family(name, tmp_path, "cpu", "float32")
