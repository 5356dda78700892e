"""The cases of ``token_hashes.json``: what every shipped decoder decides, as hashes, so that a change is seen.

Record the file anew (only when tokens or passes are meant to change; it prints which cases did)::

    python tests/decoding/token_hash_cases.py --write

A case's name is ``model/what/decoder/...``. Its record holds the first 16 hex digits of the sha256 of the int32
tokens, the NFE of each clip, and the same hash of the trace's ``accepted`` and ``decided_in``; a rollout's holds
its frames (uint8) too. A combination that the API refuses is recorded as the type of its error.

The hashes of micro and nano belong to one family of processors: another instruction set sums a float32 product
in another order, which can turn a near-tie. ``machine`` in the file therefore holds a hash of their logits, and
one of plain torch arithmetic, which tells a change of processor or torch from a change of this project. The
tiny model only looks probs up in a table, and its tokenizer only divides integers: their cases hold everywhere.
"""

import argparse
import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import vidjacobi
from vidjacobi import Grid, Guided
from vidjacobi.testing import TinyVideoModel

FILE = Path(__file__).with_name("token_hashes.json")
DECODERS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "decoder").glob("*.yaml"))
BUNDLED = ("micro", "nano")
MODELS = ("tiny", *BUNDLED)
WINDOWS, TEMPERATURES = (5, 16, 64), (0, 1)

# where all decoders would take too long: AR, siblings of both verifiers, lanes, reuse
REPRESENTATIVE = ("ar", "fast", "pathwise", "pjd_refresh", "sjdpp", "temporal")

TINY_GRID, TINY_VOCAB = Grid(4, 4, 6), 24


@dataclass(frozen=True)
class How:
    """A decoder and its settings."""

    decoder: str
    window: int = 16
    temperature: float = 1.0
    top_p: float = 0.8
    top_k: int | None = None

    @property
    def sampling(self) -> vidjacobi.SamplingParams:
        """With the seed of all cases."""
        return vidjacobi.SamplingParams(self.temperature, self.top_p, self.top_k, seed=7)


# The calls of the API, each in one place.


def decode_clips(model: Any, contexts: Any, counts: Any, how: How) -> list[Any]:
    """One batch by ``vidjacobi.decode``."""
    return [
        vidjacobi.decode(
            model,
            contexts,
            counts,
            how.decoder,
            how.window,
            sampling=how.sampling,
        )
    ]


def decode_queue(model: Any, contexts: Sequence[Tensor], counts: Sequence[int], how: How) -> list[Any]:
    """The clips through two rows by ``vidjacobi.decode_each``, the first of them with two samples."""
    requests = [
        vidjacobi.Request(context, count, str(index), samples=2 if index == 0 else 1)
        for index, (context, count) in enumerate(zip(contexts, counts, strict=True))
    ]
    finished = vidjacobi.decode_each(
        model,
        requests,
        2,
        how.decoder,
        how.window,
        sampling=how.sampling,
    )
    ordered = sorted(finished, key=lambda clip: (clip.request.name, clip.sample))
    return [clip.decoded for clip in ordered]


def roll_out(pair: Any, frames: Tensor, new_frames: int, how: How, stream: bool) -> tuple[list[Any], Tensor]:
    """Two samples by ``vidjacobi.rollout``: the chunks, and all predicted frames sample after sample."""
    rolled = vidjacobi.rollout(
        frames,
        *pair,
        new_frames,
        samples=2,
        sampling=how.sampling,
        decoder=how.decoder,
        window=how.window,
        stream=stream,
    )
    if not stream:
        return rolled.chunks, rolled.predicted.flatten(0, 1)
    groups = sorted(rolled, key=lambda group: (group.sample, group.first))
    return rolled.summary.chunks, torch.cat([group.frames for group in groups])


# The material.


class TinyTokenizer:
    """A token for each 2x2 patch of every second frame: the red of its corner divided by 10."""

    frame_size, stride_t, max_frames = (8, 12), 2, 7

    def encode(self, pixels: Tensor) -> Tensor:
        """See ``vidjacobi.VideoTokenizer``."""
        red = ((pixels[:, 0, ::2, ::2, ::2] + 1) * 127.5).round().long()
        return (red // 10).clamp(max=TINY_VOCAB - 1)

    def to_frames(self, tokens: Tensor) -> Tensor:
        """See ``vidjacobi.VideoTokenizer``."""
        return self.frame_stream().add(tokens)

    def frame_stream(self) -> "TinyStream":
        """See ``vidjacobi.models.tokenizer.StreamingTokenizer``."""
        return TinyStream()


class TinyStream:
    """Grey patches; the first latent frame is one frame, every other one two."""

    begun = False

    def add(self, tokens: Tensor) -> Tensor:
        """See ``vidjacobi.models.tokenizer.FrameStream``."""
        grey = (tokens * 10 + 5.5) / 255  # half a level of room for the rounding to uint8
        each = grey.repeat_interleave(2, 1)[:, 0 if self.begun else 1 :]
        self.begun = True
        large = each.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return large[:, None].expand(-1, 3, -1, -1, -1)

    def fork(self) -> "TinyStream":
        """See ``vidjacobi.models.tokenizer.FrameStream``."""
        return copy.copy(self)


@cache
def pair_of(name: str) -> tuple[Any, Any]:
    """Model and tokenizer, float32 on the CPU."""
    if name == "tiny":
        return TinyVideoModel(TINY_VOCAB, TINY_GRID, seed=0, surprise=0.3), TinyTokenizer()
    return vidjacobi.load(name, "cpu", "float32")


@cache
def grids_of(name: str) -> Tensor:
    """Two clips of two latent frames ``[2 2 h w]``: the bundled models' own held-out contexts."""
    if name == "tiny":
        generator = torch.Generator().manual_seed(0)
        return torch.randint(0, TINY_VOCAB, (2, 2, TINY_GRID.h, TINY_GRID.w), generator=generator)
    with resources.as_file(resources.files("vidjacobi") / "assets" / name / "held_out_contexts.npy") as file:
        return torch.from_numpy(np.load(file)[[3, 40]].astype(np.int64))


def contexts_of(name: str) -> tuple[Tensor, int]:
    """Contexts ``[2 c]`` that end within a latent frame, and how many tokens lead into the next one.

    For instance nano's: 296 of its first 320 positions and 48 new tokens, the last 24 in the second frame.
    """
    grids = grids_of(name)
    frame = grids[0, 0].numel()
    length, count = (20, 30) if name == "tiny" else (2 * frame - 24, 48)
    return grids.flatten(1)[:, :length], count


def ragged_of(name: str) -> tuple[list[Tensor], list[int]]:
    """Clips that differ in both lengths; the first and the last share a context."""
    contexts, count = contexts_of(name)
    return [contexts[0], contexts[1, :-7], contexts[0]], [count, count // 2, count // 4]


def guided_of(name: str) -> Guided:
    """The tiny model guided by another one, a bundled one by itself without a context."""
    model = pair_of(name)[0]
    other = TinyVideoModel(TINY_VOCAB, TINY_GRID, seed=1, surprise=0.3) if name == "tiny" else model
    return Guided(model, other, 1.5, blank=torch.zeros_like)


def video_of(name: str) -> tuple[Tensor, int]:
    """Frames to go on from, and a number of new ones that takes two chunks."""
    tokenizer, grids = pair_of(name)[1], grids_of(name)
    # tiny: 2 latent frames, then 2 more and 1 in the second chunk; micro: 4, then 1 and 1
    latents, new_frames = (grids[:1], 6) if name == "tiny" else (grids.flatten(0, 1)[None], 10)
    pixels = tokenizer.to_frames(latents)[0]
    return (pixels * 255).clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0).contiguous(), new_frames


# The cases.


def plain(name: str, how: How) -> dict[str, Any]:
    """A batch of two clips."""
    return record(decode_clips(pair_of(name)[0], *contexts_of(name), how))


def ragged(name: str, how: How) -> dict[str, Any]:
    """A batch of clips of different lengths."""
    return record(decode_clips(pair_of(name)[0], *ragged_of(name), how))


def queue(name: str, how: How) -> dict[str, Any]:
    """Clips of different lengths through two rows."""
    return record(decode_queue(pair_of(name)[0], *ragged_of(name), how))


def guided(name: str, how: How) -> dict[str, Any]:
    """A batch of two clips with classifier-free guidance."""
    return record(decode_clips(guided_of(name), *contexts_of(name), how))


def chunked(name: str, how: How, stream: bool = False) -> dict[str, Any]:
    """A rollout longer than the model's length."""
    chunks, frames = roll_out(pair_of(name), *video_of(name), how, stream)
    return {**record(chunks), "frames": short_hash([frames.contiguous().numpy().tobytes()])}


streamed = partial(chunked, stream=True)
Make = Callable[[str, How], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One entry of the file."""

    id: str
    model: str
    slow: bool
    make: Make
    how: How

    def run(self) -> dict[str, Any]:
        """Decode it. A refused combination is an entry as well."""
        try:
            return self.make(self.model, self.how)
        except ValueError as error:
            return {"refused": type(error).__name__}


SPECIAL: dict[str, Make] = {
    "ragged": ragged,
    "queue": queue,
    "guided": guided,
    "chunked": chunked,
    "streamed": streamed,
}
# decoders of the special cases; on nano two kinds are enough beside the plain cases
SPECIAL_OF = {
    "tiny": {**dict.fromkeys(SPECIAL, DECODERS), "chunked": REPRESENTATIVE, "streamed": REPRESENTATIVE},
    "micro": dict.fromkeys(SPECIAL, ("fast", "pathwise", "temporal")),
    "nano": {"ragged": ("fast", "pathwise"), "guided": ("fast",)},
}
# other ways from logits to probabilities, and the decoders that they are tried with
SAMPLING: dict[str, tuple[dict[str, Any], Sequence[str]]] = {
    "t0.7_p0.95_k8": ({"temperature": 0.7, "top_p": 0.95, "top_k": 8}, DECODERS),
    "p1": ({"top_p": 1.0}, REPRESENTATIVE),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for model in MODELS:
        for decoder in DECODERS:
            for window in WINDOWS:
                for temperature in TEMPERATURES:
                    fast = model == "micro" and decoder in REPRESENTATIVE and (window, temperature) == (16, 1)
                    id = f"{model}/plain/{decoder}/w{window}/t{temperature}"
                    how = How(decoder, window, temperature)
                    yield Case(id, model, model != "tiny" and not fast, plain, how)
        for what, decoders in SPECIAL_OF[model].items():
            for decoder in decoders:
                id = f"{model}/{what}/{decoder}"
                yield Case(id, model, model != "tiny", SPECIAL[what], How(decoder))
    for name, (changed, decoders) in SAMPLING.items():
        for decoder in decoders:
            yield Case(f"tiny/{name}/{decoder}", "tiny", False, plain, replace(How(decoder), **changed))


# Hashes.


def short_hash(parts: Sequence[bytes]) -> str:
    """The first 16 hex digits of the sha256."""
    return sha256(b"".join(parts)).hexdigest()[:16]


def hash_of(tables: Sequence[Tensor]) -> str:
    """Of whole numbers as int32, little-endian."""
    return short_hash([table.to(torch.int32).numpy().astype("<i4").tobytes() for table in tables])


def record(parts: Sequence[Any]) -> dict[str, Any]:
    """What is kept of finished decodes."""
    return {
        "tokens": hash_of([part.tokens for part in parts]),
        "nfe": [nfe for part in parts for nfe in part.stats.nfe],
        "accepted": hash_of([part.trace.accepted for part in parts]),
        "decided_in": hash_of([part.trace.decided_in for part in parts]),
    }


def logits_hash(name: str) -> str:
    """Of the float32 logits of a prefill and of the pass after it."""
    model, contexts = pair_of(name)[0], contexts_of(name)[0]
    store = model.make_cache(2, contexts.shape[1])
    prefill = list(model.prefill(contexts[:, :-9], store, 9))
    positions = torch.arange(contexts.shape[1])
    visible = torch.ones(len(positions), len(positions), dtype=torch.bool).tril()[-9:]
    late = positions[-9:].expand(2, -1)
    logits = model.forward(contexts[:, -9:], late, late, visible.expand(2, -1, -1), store)
    return short_hash([part.contiguous().numpy().tobytes() for part in [*prefill, logits]])


def arithmetic_hash() -> str:
    """Of what torch makes of fixed numbers, without this project: products, attention, exp, rsqrt."""
    numbers = (torch.arange(600 * 256) * 7919 % 2003 / 1001 - 1).view(600, 256)
    heads = numbers.view(1, 600, 4, 64).transpose(1, 2)
    made = [numbers[:rows] @ numbers.mT for rows in (1, 9, 32, 600)]
    made += [torch.nn.functional.scaled_dot_product_attention(heads[:, :, -9:], heads, heads)]
    made += [
        numbers.exp(),
        numbers.softmax(-1),
        (numbers.square().mean(-1) + 1e-5).rsqrt(),
        numbers.cumsum(-1),
    ]
    return short_hash([part.contiguous().numpy().tobytes() for part in made])


@cache
def stored() -> dict[str, Any]:
    """The file."""
    return json.loads(FILE.read_text())


def write() -> None:
    """Record everything anew."""
    torch.set_num_threads(1)
    before = stored()["cases"] if FILE.exists() else {}
    made = {case.id: case.run() for case in cases()}
    machine = {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "arithmetic": arithmetic_hash(),
        **{name: logits_hash(name) for name in BUNDLED},
    }
    lines = ",\n".join(f"  {json.dumps(id)}: {json.dumps(entry)}" for id, entry in made.items())
    FILE.write_text(f'{{\n "machine": {json.dumps(machine)},\n "cases": {{\n{lines}\n }}\n}}\n')
    for id in sorted(before.keys() | made.keys()):
        if before.get(id) != made.get(id):
            print(f"{id}: {before.get(id)} -> {made.get(id)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", required=True, help="record token_hashes.json anew")
    parser.parse_args()
    write()
