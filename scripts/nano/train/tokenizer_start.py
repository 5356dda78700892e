"""Start values that make the untrained tokenizer a linear one: block means and slopes pass from the first step on.

With torch's own start values the first minutes of training on two cores teach only grey blurs.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_adapter.tokenizer.haar_fsq import patch
from cosmos_adapter.tokenizer.network import Attention, Downsample, ResBlock, TokenizerNet, Upsample
from cosmos_adapter.tokenizer.spec import TokenizerSpec
from vidjacobi.shapes import Pixels

CELLS = 4  # along each axis of a block: what is finer has no say in the start values
SPREAD = 0.8  # deviation of the latents, so that they use all codes of the quantiser
# Large ridges: small weights that many features share survive the first noisy steps, exact ones do not.
ENCODER_RIDGE, DECODER_RIDGE = 0.03, 0.1
STREAM_GAIN = 40.0  # brings the residual stream to a deviation of about 1.5, so that no branch drowns it


@torch.no_grad()
def initialise(net: TokenizerNet, pixels: Pixels) -> None:
    """Set all weights: an isometry first, then encoder head and decoder head by ridge regression on ``pixels``."""
    make_isometric(net)
    head = net.encoder.conv_out
    features = input_of(net, head, pixels)
    weight, bias = ridge_regression(features, latent_targets(pixels, net.spec), ENCODER_RIDGE)
    used = len(weight)
    keep_current_frame(head[1].conv3d)
    keep_current_frame(net.quant_conv.conv3d)
    head[0].conv3d.weight[:used] = 0
    head[0].conv3d.weight[:used, :, 0, 1, 1] = weight
    head[0].conv3d.bias[:used] = bias
    last = net.decoder.conv_out[1]
    features = input_of(net, last, pixels)
    weight, bias = ridge_regression(features, patch(pixels, net.spec.patch_size), DECODER_RIDGE)
    last.conv3d.weight.zero_()
    last.conv3d.weight[:, :, -1, 0, 0] = weight
    last.conv3d.bias.copy_(bias)


def make_isometric(net: TokenizerNet) -> None:
    """Delta-orthogonal convolutions (Xiao et al. 2018); residual branches end in zeros."""
    for conv in (module for module in net.modules() if isinstance(module, nn.Conv3d)):
        taps, rows, columns = conv.kernel_size
        nn.init.zeros_(conv.weight)
        nn.init.orthogonal_(conv.weight[:, :, taps - 1, rows // 2, columns // 2])  # taps are causal
        nn.init.zeros_(conv.bias)
    for part in (net.encoder, net.decoder):
        part.conv_in[1].conv3d.weight.mul_(STREAM_GAIN)
    for module in net.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.conv2[1].conv3d.weight)
        elif isinstance(module, Attention):
            nn.init.zeros_(module.proj_out.conv3d.weight)
        elif isinstance(module, (Downsample, Upsample)):
            nn.init.zeros_(module.conv1.conv3d.weight)
            nn.init.zeros_(module.conv2.conv3d.weight)


def keep_current_frame(conv: nn.Conv3d) -> None:
    """Output channel i becomes input channel i of the current frame."""
    nn.init.zeros_(conv.weight)
    for i in range(min(conv.out_channels, conv.in_channels)):
        conv.weight[i, i, -1] = 1


def latent_targets(pixels: Pixels, spec: TokenizerSpec) -> Float[Tensor, "b e t h w"]:
    """What the latent channels are meant to be: the first principal components of the blocks, most variance first.

    Mostly brightness, its slopes across and down, and colours.
    """
    # the tokenizer is causal: its first latent frame sees one frame, here repeated to fill a block
    first = pixels[:, :, :1].expand(-1, -1, spec.temporal_compression - 1, -1, -1)
    block = (spec.temporal_compression, spec.spatial_compression, spec.spatial_compression)
    coarse = F.avg_pool3d(torch.cat([first, pixels], dim=2), [n // CELLS for n in block])
    # every block as its CELLS^3 mean colours, side by side: [b t h w, c * CELLS^3]
    cells = coarse.unflatten(4, (-1, CELLS)).unflatten(3, (-1, CELLS)).unflatten(2, (-1, CELLS))
    blocks = cells.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
    rows = blocks.flatten(0, 3).double()
    centred = rows - rows.mean(0)
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    kept = slice(-spec.embedding_dim, None)  # eigh sorts upwards: the last ones, then flipped
    scores = centred @ directions[:, kept].flip(1) / variances[kept].flip(0).sqrt() * SPREAD
    return scores.float().view(*blocks.shape[:4], -1).permute(0, 4, 1, 2, 3)


def input_of(net: TokenizerNet, module: nn.Module, pixels: Pixels) -> Float[Tensor, "b f t h w"]:
    """What goes into ``module`` when the network runs on ``pixels``."""
    seen: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(pixels)
    hook.remove()
    return seen[0].float()


def ridge_regression(
    features: Float[Tensor, "b f t h w"], targets: Float[Tensor, "b k t h w"], ridge: float
) -> tuple[Float[Tensor, "k f"], Float[Tensor, " k"]]:
    """Weight and bias of the ridge regression from features to targets over all places."""
    x, y = (tensor.transpose(0, 1).flatten(1).double() for tensor in (features, targets))
    x = torch.cat([x, torch.ones_like(x[:1])])  # a feature of ones, whose weight is the bias
    gram = x @ x.T / x.shape[1]
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solution = torch.linalg.solve(gram, x @ y.T / x.shape[1]).T.float()
    return solution[:, :-1], solution[:, -1]
