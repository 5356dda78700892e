"""nano-pusht's tokenizer with random weights: a code depends on its own patch alone."""

import torch

from vidjacobi.families.frame_tokenizer import FrameTokenizer
from vidjacobi.families.pusht_pixels import PatchNetwork, PatchSpec
from vidjacobi.testing import check_tokenizer

SPEC = PatchSpec(levels=(5, 4), patch=4, side=3, read=8, drawn=8, fine=4, max_frames=3)


def tokenizer() -> FrameTokenizer:
    torch.manual_seed(0)
    network = PatchNetwork(SPEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return FrameTokenizer(network.requires_grad_(False), (12, 12), SPEC.max_frames)


def test_it_keeps_the_promises_of_a_tokenizer() -> None:
    check_tokenizer(tokenizer())


def test_a_code_depends_on_its_own_patch_alone() -> None:
    pixels = torch.rand(1, 3, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = pixels.flip(-1).clone()
    other[..., 4:8, 8:] = pixels[..., 4:8, 8:]
    codes, changed = (tokenizer().encode(part)[0, 0] for part in (pixels, other))
    assert codes[1, 2] == changed[1, 2]
    assert (codes != changed).any()


def test_a_patch_is_read_by_its_place_too() -> None:
    codes = tokenizer().encode(torch.zeros(1, 3, 1, 12, 12))
    assert len(codes.unique()) > 1
