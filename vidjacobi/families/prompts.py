"""From token ids to what is given to a clip, and the two branches of guidance."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vidjacobi.errors import InvalidArgument
from vidjacobi.families.layout import Condition, Layout, behind_prompt, bytes_of
from vidjacobi.families.model import RiderModel
from vidjacobi.models.guidance import Guided
from vidjacobi.models.protocol import VideoModel
from vidjacobi.shapes import Tokens

Ids = Sequence[int]


def embedded(table: nn.Embedding, ids: Ids) -> Tensor:
    """Embeddings ``[n dim]`` of some ids. Raises InvalidArgument for one that the table does not have."""
    wrong = [index for index in ids if not 0 <= index < table.num_embeddings]
    if wrong:
        raise InvalidArgument(f"token ids {wrong[:4]} lie outside the {table.num_embeddings} of this model")
    with torch.no_grad():
        return table(torch.tensor(list(ids), dtype=torch.long, device=table.weight.device))


def origin_of(ids: Ids) -> bytes:
    """What embeddings of ids were made of, which names them."""
    return bytes_of(torch.tensor(list(ids), dtype=torch.long))


def behind(
    table: nn.Embedding, prompt: Ids, cells: Int[Tensor, " c"], between: Ids = (), most: int | None = None
) -> Condition:
    """A prompt in front of cells, and the given tokens between the cells, all as ids of one table.

    Args:
        table: embeddings of the ids.
        prompt: its ids, at least one.
        cells: riders of the cells; ``between`` has the id of each.
        most: places that the network has.

    Raises InvalidArgument for no prompt, an id that is not there, and for more places than there are.
    """
    layout = Layout(behind_prompt(len(prompt), cells))
    if most is not None and layout.length > most:
        raise InvalidArgument(
            f"a prompt of {len(prompt)} tokens and a clip of {layout.length - len(prompt)} are more than the "
            f"{most} places of this model"
        )
    ids = [*prompt, *between]
    return Condition(layout, embedded(table, ids), origin_of(ids))


def first_tokens(model: VideoModel, clips: int) -> Tokens:
    """Contexts ``[clips 1]`` that hold nothing but the prompt: ``vidjacobi.decode`` goes on from them."""
    return torch.tensor([model.prefix_tokens] * clips, dtype=torch.long, device=model.device)


def with_guidance(
    conditional: RiderModel, unconditional: RiderModel, scale: float, cells: int | None = None
) -> VideoModel:
    """Both branches as one model, of which the first ``cells`` are guided (None: all); not guided at a scale of 1."""
    if scale == 1:
        return conditional
    if cells is None:
        return Guided(conditional, unconditional, scale)
    count = conditional.max_positions - len(conditional.prefix_tokens)
    return Guided(conditional, unconditional, [scale if cell < cells else 1.0 for cell in range(count)])
