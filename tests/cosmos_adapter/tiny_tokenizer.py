"""A tiny video tokenizer with random weights, and the same tokenizer as a pair of TorchScript files."""

import jaxtyping
import torch
from torch import nn

from cosmos_adapter.tokenizer.network import TokenizerNet
from cosmos_adapter.tokenizer.spec import TokenizerSpec

SPEC = TokenizerSpec(
    channels=8, channels_mult=(1, 2, 2), num_res_blocks=1, z_channels=4, embedding_dim=3, levels=(8, 5, 5),
    spatial_compression=8, video_height=32, video_width=48,
)  # fmt: skip


def make_net():
    torch.manual_seed(0)
    net = TokenizerNet(SPEC).eval()
    # Latents of mean 0 and deviation 1 are spread over many codes; those of random weights would all round to 0.
    with torch.no_grad():
        latent = net.to_latent(make_video())
        mean, std = (f(dim=(0, 2, 3, 4)) for f in (latent.mean, latent.std))
        last = net.quant_conv.conv3d
        last.weight.div_(std.view(-1, 1, 1, 1, 1))
        last.bias.sub_(mean).div_(std)
    return net


def make_video(frames=33, batch=1):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(batch, 3, 5, 4, 6, generator=generator) * 2 - 1
    smooth = nn.functional.interpolate(coarse, (33, 32, 48), mode="trilinear", align_corners=True)
    return smooth[:, :, :frames]


class Constants(nn.Module):
    """A module whose only contents are buffers, as the released files have them."""

    def __init__(self, **buffers):
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)


def haar_constants():
    return Constants(
        wavelets=torch.full((2,), 0.5**0.5), _arange=torch.arange(2), patch_size_buffer=torch.tensor([4])
    )


class ScriptEncoder(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.encoder, self.quant_conv, self.quantizer = net.encoder, net.quant_conv, net.quantizer

    def forward(self, video):
        codes, indices = self.quantizer(self.quant_conv(self.encoder(video)))
        return indices, codes, torch.zeros(1)


class ScriptInverse(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.quantizer = net.quantizer

    def forward(self, indices):
        return self.quantizer.codes_of(indices)


class ScriptDecoder(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.inv_quant = ScriptInverse(net)
        self.post_quant_conv, self.decoder = net.post_quant_conv, net.decoder

    def forward(self, indices):
        codes = self.inv_quant(indices)
        return self.decoder(self.post_quant_conv(codes.to(self.post_quant_conv.conv3d.weight.dtype)))


def export_scripts(net, folder):
    """Write the small network as a pair of files like the released one, with its extra buffers."""
    net.encoder.patcher3d = haar_constants()
    net.decoder.unpatcher3d = haar_constants()
    del net.decoder.unpatcher3d.patch_size_buffer
    for name, value in (
        ("_levels", torch.tensor(SPEC.levels)),
        ("_basis", torch.tensor([1, 8, 40])),
        ("implicit_codebook", torch.zeros(200, 3)),
    ):
        net.quantizer.register_buffer(name, value)
    # While a trace is made, sizes are tensors, which the shape checks refuse.
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        encoder = torch.jit.trace(ScriptEncoder(net), make_video(9), check_trace=False)
        tokens = torch.zeros(1, 2, 4, 6, dtype=torch.int32)
        decoder = torch.jit.trace(ScriptDecoder(net), tokens, check_trace=False)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    encoder.save(folder / "encoder.jit")
    decoder.save(folder / "decoder.jit")
