"""The network of nano-image: nano's layers over one latent frame, with a class before it and smaller tables.

It begins as nano (some of its layers, its tables cut down by SVD): a picture is the first latent frame of a clip, so
nano has learned all but the classes already. Position 0 holds the id of the class, ``vocab_size`` and more.
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
        """Begin as the nearest table of this rank to another one, which may have fewer rows."""
        left, size, right = torch.linalg.svd(table.float(), full_matrices=False)
        rank, root = self.codes.shape[1], size.sqrt()
        self.codes[: len(table)] = left[:, :rank] * root[:rank]
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
    """The Cosmos transformer with tables of a rank; only ``forward`` is used, for training and judging."""

    def __init__(self, rank: int = RANK) -> None:
        super().__init__(IMAGE)
        self.tok_embeddings = FactoredEmbedding(IMAGE.embedding_rows, rank, IMAGE.dim)
        self.output = FactoredHead(IMAGE.vocab_size, rank, IMAGE.dim)

    @torch.no_grad()
    def start_from(self, nano: CosmosTransformer, seed: int) -> None:
        """Take nano's weights; the vectors of the classes are small and random."""
        for own, index in zip(self.layers, KEPT, strict=True):
            own.load_state_dict(nano.layers[index].state_dict())
        self.norm.load_state_dict(nano.norm.state_dict())
        self.tok_embeddings.start(nano.tok_embeddings.weight)
        self.output.start(nano.output.weight)
        codes, generator = self.tok_embeddings.codes, torch.Generator().manual_seed(seed)
        new = codes[IMAGE.vocab_size :]
        new.copy_(codes[: IMAGE.vocab_size].std() * torch.randn(new.shape, generator=generator))


def start_network(seed: int) -> ImageTransformer:
    """The network before its training: cut out of the nano that ships."""
    import vidjacobi

    model, _ = vidjacobi.load("nano", "cpu", "float32")
    net = ImageTransformer()
    net.start_from(model.network, seed)
    return net
