"""The quantiser: its codes, its token numbering, its gradient."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cosmos_adapter.tokenizer.haar_fsq import FiniteScalarQuantizer

OFFICIAL = (8, 8, 8, 5, 5, 5)
LEVELS = [OFFICIAL, (8, 5, 5), (4,), (2, 3), (7, 6, 5, 4)]


@pytest.mark.parametrize("levels", LEVELS)
def test_every_token_round_trips(levels):
    fsq = FiniteScalarQuantizer(levels)
    ids = torch.arange(fsq.vocab_size, dtype=torch.int32).view(1, 1, 1, -1)
    codes = fsq.codes_of(ids)
    assert codes.abs().max() <= 1
    assert torch.equal(fsq.indices_of(codes), ids)
    # codes such as 1/4 or 1/2 are exact in bfloat16
    assert torch.equal(fsq.indices_of(codes.bfloat16()), ids)


def test_official_numbering():
    fsq = FiniteScalarQuantizer(OFFICIAL)
    ids = torch.tensor([0, 1, 8, 512, 63_999]).view(1, 1, 1, 5)
    codes = fsq.codes_of(ids)[0, :, 0, 0].T
    low = torch.full((6,), -1.0)
    assert torch.equal(codes[0], low)
    for row, channel, step in ((1, 0, 0.25), (2, 1, 0.25), (3, 3, 0.5)):
        assert torch.equal(codes[row], low + torch.eye(6)[channel] * step)
    assert torch.equal(codes[4], torch.tensor([0.75, 0.75, 0.75, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("levels", LEVELS)
def test_forward_is_the_nearest_code_and_reaches_all_of_them(levels):
    fsq = FiniteScalarQuantizer(levels)
    torch.manual_seed(0)
    latent = torch.randn(1, len(levels), 4, 50, 50) * 4
    codes, ids = fsq(latent)
    assert torch.equal(codes, fsq.codes_of(ids))
    for channel, n in enumerate(levels):
        assert len(codes[0, channel].unique()) == n


def test_gradient_is_that_of_the_bound():
    fsq = FiniteScalarQuantizer((8, 5))
    latent = torch.linspace(-2, 2, 20).view(1, 2, 1, 1, 10).requires_grad_()
    (through,) = torch.autograd.grad(fsq(latent)[0].sum(), latent)
    halves = torch.tensor([4.0, 2.0]).view(1, 2, 1, 1, 1)
    (bound,) = torch.autograd.grad((fsq.bound(latent) / halves).sum(), latent)
    torch.testing.assert_close(through, bound)
    assert (through > 0).all()


def test_bf16_latents_give_bf16_codes_and_no_state():
    fsq = FiniteScalarQuantizer(OFFICIAL)
    latent = torch.randn(2, 6, 2, 3, 4)
    codes, ids = fsq(latent.bfloat16())
    wide, same = fsq(latent.bfloat16().float())
    assert codes.dtype == torch.bfloat16
    assert ids.dtype == torch.int32
    assert torch.equal(codes.float(), wide)
    assert torch.equal(ids, same)
    assert not fsq.state_dict()


def test_a_prediction_on_fake_tensors_leaves_nothing_behind():
    """The memory check runs the tokenizer on fake tensors in the process that rolls out afterwards."""
    fsq = FiniteScalarQuantizer((9, 3))  # levels of no other test: the first to ask for them is fake
    with FakeTensorMode():
        fsq(torch.zeros(1, 2, 1, 1, 1))
    codes, ids = fsq(torch.zeros(1, 2, 1, 1, 1))
    assert type(codes) is torch.Tensor
    assert ids.tolist() == [[[[4 + 1 * 9]]]]
