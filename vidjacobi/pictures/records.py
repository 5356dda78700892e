"""What is recorded of one picture: what was asked for, how many passes it took, how sure it is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from vidjacobi.config.decoder import GUARANTEES, DecoderConfig
from vidjacobi.decoding.api import ClipId
from vidjacobi.decoding.trace import Decoded, hash_tokens
from vidjacobi.pictures.prompt_list import Entry

if TYPE_CHECKING:
    from vidjacobi.families.painters.contract import Painter

# keys of a record that the command's last line repeats
SUMMARY = ("nfe", "new_tokens", "tokens_per_pass", "seconds", "tokens_sha256")


@dataclass(frozen=True)
class Drawn:
    """One row of a decode.

    Attributes:
        found: of all rows that were decoded together; ``row`` is which.
        codes: of the image tokenizer, rows and columns of the picture.
        pixels: in [0, 1]; None where none can be made.
        seconds: of making the pixels.
    """

    found: Decoded
    row: int
    codes: Int[Tensor, "h w"]
    pixels: Float[Tensor, "3 H W"] | None
    seconds: float

    @classmethod
    def of(cls, found: Decoded, row: int, painter: "Painter") -> "Drawn":
        """The codes and, picture by picture so that none depends on its neighbours, the pixels."""
        tokens, began = found.tokens[row : row + 1], time.perf_counter()
        pixels = None if painter.lacks_pixels is not None else painter.pixels(tokens)[0].cpu()
        seconds = time.perf_counter() - began
        codes = painter.codes(tokens)[0].unflatten(0, (painter.grid.h, painter.grid.w))
        return cls(found, row, codes, pixels, seconds)


def key_of(entry: Entry, described: Mapping[str, Any], sample: int) -> ClipId:
    """What a picture's noise is keyed with: its line's id, else its class or text, and which of equal ones it is."""
    # What it is stands in front: the class 3, the prompt "3" and the id 3 are three keys.
    if entry.id is not None:
        name = f"id {entry.id}"
    elif "class" in described:
        name = f"class {described['class']}"
    elif entry.prompt is None and entry.label is None:
        name = "nothing"
    else:
        name = f"prompt {entry.prompt}"
    return name, entry.repeat, sample, 0


def picture_record(
    entry: Entry,
    described: Mapping[str, Any],
    sample: int,
    drawn: Drawn,
    decoder: DecoderConfig,
    seed: int,
    guidance: float,
) -> dict[str, Any]:
    """``NAME.json`` of one picture, as plain values."""
    stats, row = drawn.found.stats, drawn.row
    decided = drawn.found.trace.decided[:, row]
    nfe, new_tokens = stats.nfe[row], stats.new_tokens[row]
    return {
        **described,
        "index": entry.index,
        "repeat": entry.repeat,
        "facts": dict(entry.facts),
        "sample": sample,
        "seed": seed,
        "guidance": guidance,
        "latent_grid": list(drawn.codes.shape),
        "picture_size": None if drawn.pixels is None else list(drawn.pixels.shape[1:]),
        "guarantee": f"{stats.guarantee}: {GUARANTEES[decoder.guarantee]}",
        "nfe": nfe,
        "nfe_with_shared_prefill": round(stats.shared_nfe[row], 4),
        "prefill_shared_by": stats.prefill_shared_by[row],
        "new_tokens": new_tokens,
        "tokens_per_pass": new_tokens / nfe,
        # 0 stands where this picture took no part in a pass of its neighbours
        "acceptance_lengths": decided[decided > 0].tolist(),
        "rows_together": len(stats.nfe),
        "seconds": {"decode": round(stats.seconds, 4), "to_pixels": round(drawn.seconds, 4)},
        "seconds_forward": round(stats.forward_seconds, 4),
        "tokens_sha256": hash_tokens([drawn.found.tokens[row]]),
    }


def describe(record: Mapping[str, Any]) -> str:
    """What stands below a picture on the sheet."""
    label = record.get("class", record.get("label"))
    shown = record.get("prompt") or record.get("class_name") or ("" if label is None else f"class {label}")
    sample = f".{record['sample']}" if record["sample"] else ""
    return f"{record['index']}{sample} {shown}".rstrip()


def summary_of(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the command's last line says about one picture."""
    files = [str(folder / file) for file in record["files"]]
    return {"files": files, **{key: record[key] for key in SUMMARY}}
