"""The network of nano-image: nano's layers over one latent frame, with a class before it and smaller tables.

It begins as nano (some of its layers, its tables cut down by SVD): a picture is the first latent frame of a clip, so
nano has learned all but the classes already. A sequence begins with the id of its class, ``vocab_size`` and more; in
the network a prompt of vectors takes its place.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_adapter.transformer.attention import Hidden
from cosmos_adapter.transformer.network import CosmosTransformer
from scripts.nano.render.scene_pictures import LABELS
from scripts.nano.train.model_sizes import MODELS
from vidjacobi.shapes import Logits, Tokens

KEPT = (0, 1, 2, 5, 6, 7)  # layers of nano; see docs/log/nano.md for others
RANK = 88  # of both tables: a product of [v r] and [r dim]; nano's loss with such a head is 0.03 nats higher at first
# vectors of a class: of a single one the network took no notice in the 75 steps that were tried
PROMPT = 16
IMAGE = replace(
    MODELS["nano"],
    n_layers=len(KEPT),
    video_latent_shape=(1, *MODELS["nano"].video_latent_shape[1:]),
    num_video_frames=1,
    begin_of_video=True,
)
NO_CLASS = IMAGE.vocab_size + len(LABELS)  # the id of the branch without a class


class FactoredTable(nn.Module):
    """A table ``[rows dim]`` of a rank: an embedding, or the transpose of one as a head."""

    def __init__(self, rows: int, rank: int, dim: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.zeros(rows, rank))
        self.map = nn.Parameter(torch.zeros(rank, dim))

    @property
    def weight(self) -> Tensor:
        """What says the dtype."""
        return self.codes

    @torch.no_grad()
    def start(self, table: Float[Tensor, "rows dim"]) -> None:
        """Begin as the nearest table of this rank to another one."""
        left, size, right = torch.linalg.svd(table.float(), full_matrices=False)
        rank, root = self.codes.shape[1], size.sqrt()
        self.codes.copy_(left[:, :rank] * root[:rank])
        self.map.copy_(root[:rank, None] * right[:rank])


class FactoredEmbedding(FactoredTable):
    """From ids to vectors."""

    def forward(self, tokens: Tokens) -> Hidden:
        return F.linear(F.embedding(tokens, self.codes), self.map.T)


class FactoredHead(FactoredTable):
    """From hidden states to logits."""

    def forward(self, hidden: Hidden) -> Logits:
        return F.linear(F.linear(hidden, self.map), self.codes)


class ImageTransformer(CosmosTransformer):
    """The Cosmos transformer with tables of a rank and prompts of classes; ``forward`` alone is used, to train."""

    def __init__(self, rank: int = RANK) -> None:
        super().__init__(IMAGE)
        self.tok_embeddings = FactoredEmbedding(IMAGE.vocab_size, rank, IMAGE.dim)
        self.output = FactoredHead(IMAGE.vocab_size, rank, IMAGE.dim)
        self.classes = nn.Parameter(torch.zeros(len(LABELS) + 1, PROMPT, IMAGE.dim))

    def forward(self, tokens: Tokens) -> Logits:
        """Logits of the cell after each input: the id of a class, then cells."""
        cells = tokens[:, 1:]
        h = torch.cat([self.classes[tokens[:, 0] - IMAGE.vocab_size], self.tok_embeddings(cells)], 1)
        # the row of position 0 has zero angles
        places = torch.arange(h.shape[1], device=tokens.device) - (PROMPT - 1)
        shared = self._pass_inputs(places.clamp(min=0).expand(len(tokens), -1))
        for layer in self.layers:
            h = layer(h, shared, None, None)
        return self.head(h[:, PROMPT - 1 :])

    @torch.no_grad()
    def start_from(self, nano: CosmosTransformer, seed: int) -> None:
        """Take nano's weights; the vectors of the classes are random, as long as those of tokens."""
        for own, index in zip(self.layers, KEPT, strict=True):
            own.load_state_dict(nano.layers[index].state_dict())
        self.norm.load_state_dict(nano.norm.state_dict())
        self.tok_embeddings.start(nano.tok_embeddings.weight)
        self.output.start(nano.output.weight)
        generator = torch.Generator().manual_seed(seed)
        size = nano.tok_embeddings.weight.std()
        self.classes.copy_(size * torch.randn(self.classes.shape, generator=generator))


def start_network(seed: int) -> ImageTransformer:
    """The network before its training: cut out of the nano that ships."""
    import vidjacobi

    model, _ = vidjacobi.load("nano", "cpu", "float32")
    net = ImageTransformer()
    net.start_from(model.network, seed)
    return net
