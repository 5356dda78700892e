"""Many clips through few rows: a clip that is finished is handed out at once and its row refilled from the queue."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import (
    check_clips,
    choose_decoder,
    context_ids,
    context_rows,
    counts_of,
    named,
    noise_key_of,
)
from vidjacobi.decoding.recipe import Clips, Hooks, Recipe
from vidjacobi.decoding.scheduler import Done, Job, Order, decode_orders
from vidjacobi.decoding.trace import Decoded
from vidjacobi.errors import InvalidArgument, VidjacobiError, number_of
from vidjacobi.kinds import check_members, of_kind, value_words, whole
from vidjacobi.models.protocol import RowModel, VideoModel, conditions_of
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams


@dataclass(frozen=True, eq=False)
class Request:
    """Futures of one context.

    Attributes:
        context: ``[c]`` token ids, c >= 1, special tokens of the model included.
        new_tokens: >= 1.
        name: of the clip, which its noise is keyed with (and ``start``, the sample's number and ``chunk``); by
            default the sha256 of the context and the condition.
        samples: how many futures (0, 1, ...), or their numbers, such as those that are still missing.
        start, chunk: where in the clip the context begins, and which chunk of a longer rollout this is.
        note: whatever the caller wants to find again.
        condition: of all its futures, where the model takes one; see ``vidjacobi.decode``. None: the model's own.
    """

    context: Int[Tensor, " c"]
    new_tokens: int
    name: str | None = None
    samples: int | Sequence[int] = 1
    start: int = 0
    chunk: int = 0
    note: Any = None
    condition: Any = None

    @property
    def numbers(self) -> list[int]:
        """Of the futures. Raises InvalidArgument for what are no whole numbers."""
        if isinstance(self.samples, list | tuple | range | set | frozenset):
            return [whole("a sample's number", number) for number in self.samples]
        return list(range(whole("samples", self.samples)))


@dataclass(frozen=True, eq=False)
class Finished:
    """One decoded future.

    Attributes:
        request, sample: which one it is.
        decoded: what ``vidjacobi.decode`` returns for it alone. Seconds are those of the passes it took part in.
        share: its part of the wall time: that of each pass shared equally by the clips that took part.
    """

    request: Request
    sample: int
    decoded: Decoded
    share: float


@dataclass(frozen=True, eq=False)
class Failed:
    """A future (or with ``sample`` None all of the request) that could not be decoded, and why."""

    request: Request
    sample: int | None
    error: VidjacobiError


def decode_each(
    model: VideoModel,
    requests: Iterable[Request | None],
    rows: int = 8,
    decoder: str | DecoderConfig = "pathwise",
    window: int | None = None,
    sampling: SamplingParams = DEFAULT_SAMPLING,
    *,
    positions: int | None = None,
    keep_going: bool = False,
    measure: bool = False,
) -> Iterator[Finished | Failed]:
    """Decode clips of any lengths, ``rows`` futures at a time, and yield each as soon as it is finished.

    A future's tokens, passes and trace are those that it has alone, whatever stands beside it. A request is
    taken from ``requests`` when a row is free, its context is prefilled once, and its futures take rows as they
    become free: at most ``rows`` futures are in flight, and one more request whose futures wait. If ``requests``
    yields None, nothing is ready: the rows in flight make a pass before it is asked again (at once if there are
    none, so wait then).

    AR, and models that cannot copy rows of their cache (``vidjacobi.models.protocol.RowModel``), decode batches of
    ``rows`` futures instead, each to its end; only the former share prefills.

    Args:
        model, decoder, window, sampling, measure: as ``vidjacobi.decode``.
        requests: any iterable, finite or not.
        rows: >= 1.
        positions: most positions of a clip, context and new tokens; by default as many as the model has. The
            cache holds ``rows`` times as many.
        keep_going: yield ``Failed`` for what cannot be decoded and go on with the rest, instead of raising.

    Raises:
        InvalidArgument: a number or name is out of range, or (without ``keep_going``) a request's.
        BadModelOutput: the model returned NaN or infinite logits (without ``keep_going``).
    """
    check_members("the model", model, VideoModel)
    chosen = choose_decoder(decoder, window, sampling)
    rows = whole("rows", rows, 1)
    if positions is not None and not 1 < whole("positions", positions) <= model.max_positions:
        raise InvalidArgument(f"positions must be 2 to the model's {model.max_positions}, not {positions}")
    if isinstance(model, RowModel) and not model.rows_alike:
        raise InvalidArgument(
            "each row of this model has a condition of its own: decode such clips together, with vidjacobi.decode"
        )
    if not isinstance(requests, Iterable):
        raise InvalidArgument(
            f"requests must be an iterable of vidjacobi.Request, not {value_words(requests)}"
        )
    recipe = chosen.recipe(model, positions or model.max_positions)
    job = Job(chosen.config.method, recipe, Hooks(measure))
    return run_queue(job, requests, chosen.sampling.seed, rows, keep_going)


def run_queue(
    job: Job, requests: Iterable[Request | None], seed: int, rows: int, keep_going: bool = False
) -> Iterator[Finished | Failed]:
    """``decode_each`` for a decoder that has been chosen."""
    # Generators from end to end: a request is taken and checked when a row is free for it, never before.
    orders = (_order(job.recipe, seed, request) for request in requests)
    return (_handed(done, keep_going) for done in decode_orders(job, orders, rows))


def _order(recipe: Recipe, seed: int, request: Request | None) -> Order | Done | None:
    """What the decoders are asked for, or why they are not."""
    if request is None:
        return None
    of_kind("a request", request, Request, "a vidjacobi.Request or None")
    try:
        return _checked(recipe, seed, request)
    except VidjacobiError as error:
        return Done(request, None, error=type(error)(f"{_named(request)}: {error}"))


def _checked(recipe: Recipe, seed: int, request: Request) -> Order:
    (context,), numbers = context_rows([request.context]), request.numbers
    (wanted,) = counts_of(request.new_tokens, 1)
    check_clips(recipe.model, [context], [wanted])
    longest = len(context) + wanted
    if longest > recipe.room:
        raise InvalidArgument(
            f"{number_of(longest, 'position')}, context and new tokens, are more than positions={recipe.room}"
        )
    count = len(numbers)
    if not numbers or len(set(numbers)) < count:
        raise InvalidArgument(f"samples must be at least 1, or different numbers, not {request.samples}")
    given = None if request.condition is None else [request.condition]
    conditions = conditions_of(recipe.model, given, [longest])
    name = request.name
    if name is None:
        name = context_ids([context], conditions and conditions[1])[0]
    clips = named([(name, request.start, sample, request.chunk) for sample in numbers])
    keys = [noise_key_of(clip) for clip in clips]
    # The futures of a request share the context of the first, and so its prefill.
    counts, sources = [wanted] * count, [0] * count
    own = None if conditions is None else conditions[0] * count
    return Order(request, Clips.of([context] * count, counts, seed, keys, recipe.model.device, sources, own))


def _handed(done: Done, keep_going: bool) -> Finished | Failed:
    request: Request = done.key
    sample = None if done.clip is None else request.numbers[done.clip]
    if done.decoded:
        return Finished(request, sample or 0, done.decoded, done.share)
    assert done.error
    if keep_going:
        return Failed(request, sample, done.error)
    raise done.error


def _named(request: Request) -> str:
    """The clip in words."""
    name = "a clip without name" if request.name is None else f"clip {request.name!r}"
    return name + (f" from {request.start}" if request.start else "")
