"""How many tokens a pass decides, by decoder and window: from the paper's table, or from a bench of the user's."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidjacobi.errors import BadInput
from vidjacobi.estimate.published import Published


@dataclass(frozen=True)
class Acceptance:
    """Tokens per pass.

    Attributes:
        source: where they are from.
        model: on which model they were counted.
        tokens: by decoder and window.
    """

    source: str
    model: str
    tokens: Mapping[tuple[str, int], float]


def from_paper(table: Published) -> Acceptance:
    """Of the published table; AR's is 1 at window 1."""
    tokens = {(row.decoder, row.window): table.new_tokens / row.passes for row in table.rows}
    return Acceptance(table.paper, table.model, tokens)


def from_bench(path: Path) -> Acceptance:
    """Of a ``bench.json`` that ``vidjacobi bench`` wrote; of several models the first one.

    Raises BadInput where it is none.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))["summary"]
        model = str(summary[0]["model"])
        tokens = {
            (str(line["decoder"]), int(line["window"])): float(line["tokens_per_pass"])
            for line in summary
            if line["model"] == model
        }
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInput(f"{path} is not the bench.json that `vidjacobi bench` writes") from None
    if min(tokens.values()) < 1:
        raise BadInput(f"{path}: fewer tokens than passes ({min(tokens.values())} tokens a pass)")
    return Acceptance(str(path), model, tokens)
