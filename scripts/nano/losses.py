"""A transformer's loss on sequences of tokens, and the held-out loss of each latent frame."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from specs import CONTEXT_FRAMES
from torch import Tensor

from cosmos_adapter.transformer.network import CosmosTransformer


def losses(net: CosmosTransformer, tokens: Int[Tensor, "b p"]) -> Float[Tensor, "b p2"]:
    """Negative log-likelihood in nats of every token but the first."""
    with torch.autocast(tokens.device.type, torch.bfloat16):
        logits = net(tokens[:, :-1])
    flat = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return flat.view(len(tokens), -1)


@torch.no_grad()
def heldout_losses(net: CosmosTransformer, tokens: Int[Tensor, "n p"]) -> Float[Tensor, " t"]:
    """Mean loss of each latent frame (of the first one, without its first token)."""
    device = next(net.parameters()).device
    per_token = torch.cat([losses(net, clip.to(device)) for clip in tokens.split(1)]).mean(0).cpu()
    frames = torch.cat([per_token[:1], per_token]).view(net.spec.grid.t, -1)
    return torch.cat([frames[:1, 1:].mean(1), frames[1:].mean(1)])


def describe(per_frame: Float[Tensor, " t"]) -> str:
    """One line: the predicted frames' mean and every frame."""
    predicted = per_frame[CONTEXT_FRAMES:].mean()
    return f"predicted frames {predicted:.3f} nats, frames {' '.join(f'{x:.3f}' for x in per_frame)}"
