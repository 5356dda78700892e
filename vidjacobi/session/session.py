"""Stepping, forking and rewinding a world model."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import Decoder, choose_decoder, context_ids, decode_steps
from vidjacobi.decoding.recipe import Hooks, in_buckets
from vidjacobi.decoding.step import PassCompiler
from vidjacobi.decoding.strategies.lanes import RasterLane
from vidjacobi.decoding.trace import Decoded, finish
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import check_members, of_kind, whole
from vidjacobi.models.codec import as_seen, check_frames, fit, frames_of, frames_to_tokens, tokens_to_frames
from vidjacobi.models.protocol import TreeModel, VideoModel, flatten
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths, latent_frames
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.session.frame_maker import FrameMaker
from vidjacobi.session.kept_cache import KeptCache, kept_cache
from vidjacobi.session.record import ChunkRecord, Snapshot
from vidjacobi.shapes import Frames, GridTokens


@dataclass(frozen=True, eq=False)
class Step:
    """What a step decided, a row for each clip.

    Attributes:
        tokens: the new latent frames ``[b t h w]``.
        frames: uint8 RGB ``[b n H W 3]``; None where no pixels were asked for.
        decoded: passes, acceptance and trace, as ``vidjacobi.decode`` returns them. What is fed again at the start of
            a step counts as one pass, as a prefill does.
        seconds: wall time of decoding and of the pixels.
    """

    tokens: GridTokens
    frames: UInt8[Tensor, "b n H W c"] | None
    decoded: Decoded
    seconds: float

    @property
    def nfe(self) -> list[int]:
        """Passes of each clip."""
        return self.decoded.stats.nfe

    @property
    def guarantee(self) -> str:
        """What the decoder promises of the tokens."""
        return self.decoded.stats.guarantee


class Session:
    """Clips of a world model that are decided latent frame by latent frame.

    With a decoder that gives AR's own tokens (``ar``, ``pathwise``), frames that are stepped one by one are those of
    one ``vidjacobi.rollout``: bit for bit where passes are exact (``Step.guarantee``). Other exact decoders draw from
    the same distribution. A clip's tokens do not depend on the other clips of its session.

    Beyond the length of the model it *slides*: the last frames (two latent frames) are encoded as a new context, as
    in a long rollout.

    Args:
        model, tokenizer: from ``vidjacobi.load``, or your own; not compiled.
        context_frames: the frames given, uint8 RGB ``[T H W 3]``, T = 1 + stride_t * k; or one such tensor for each
            clip, all equally long.
        samples: futures of each context, each with noise of its own; row ``clip * samples + sample``.
        seed: of the noise; None: that of ``sampling``.
        decoder, window, sampling: as for ``vidjacobi.rollout``.
        names: one for each context, which keys its noise with ``start`` and the sample's number. By default the
            sha256 of its tokens, so that equal contexts have equal futures.
        start: a part of the key.

    Raises:
        InvalidArgument: a number or name is out of range or of the wrong kind, a lossy decoder's window is too large
            for the cache, or the model is compiled.
        BadModelOutput: the model returned NaN or infinite values.
    """

    def __init__(
        self,
        model: VideoModel,
        tokenizer: VideoTokenizer,
        context_frames: Frames | Sequence[Frames],
        *,
        samples: int = 1,
        seed: int | None = None,
        decoder: str | DecoderConfig = "pathwise",
        window: int | None = None,
        sampling: SamplingParams = DEFAULT_SAMPLING,
        names: Sequence[str] | None = None,
        start: int = 0,
    ) -> None:
        check_members("the model", model, VideoModel)
        check_members("the tokenizer", tokenizer, VideoTokenizer)
        if isinstance(model, PassCompiler):
            raise InvalidArgument("a session needs the model as it was loaded, without compile")
        if seed is not None:
            sampling = replace(of_kind("sampling", sampling, SamplingParams, "a SamplingParams"), seed=seed)
        self._tokenizer, self._chosen = tokenizer, choose_decoder(decoder, window, sampling)
        clips = _clips(context_frames)
        check_lengths(len(clips[0]), 1, samples, tokenizer)
        pixels = [fit(clip, tokenizer.frame_size) for clip in clips]
        grids = torch.cat([tokenizer.encode(own[None]) for own in pixels])
        ids = context_ids(flatten(model, grids)) if names is None else _names(names, len(clips))
        whole("start", start)
        seen = torch.stack([as_seen(own) for own in pixels])
        chunk = _begun(0, seen, grids, tokenizer).repeat(samples)
        rows = len(clips) * samples
        self._at = Snapshot(
            tuple(name for name in ids for _ in range(samples)),
            (*range(samples),) * len(clips),
            start,
            (chunk,),
        )
        self._kept: KeptCache = kept_cache(model, rows, _slots(self._chosen, model))
        self._maker = FrameMaker(tokenizer)

    def __len__(self) -> int:
        """Clips."""
        return len(self._at.names)

    @property
    def tokens(self) -> GridTokens:
        """The whole latent grid of each clip: the first context's, then all latent frames decided."""
        return self._at.tokens

    @property
    def latents(self) -> int:
        """Latent frames decided so far."""
        return self._at.latents

    def step(self, latents: int = 1, *, pixels: bool = True) -> Step:
        """Decide the next latent frames of every clip.

        Args:
            latents: how many, >= 1. They are decoded together, so that windows may reach from one into the next.
            pixels: whether to make their frames.

        Raises InvalidArgument for fewer than one, and for more than fit behind the context before it slides.
        """
        began = time.perf_counter()
        whole("latents", latents, 1)
        if latents > (room := self._room):
            most = latent_frames(self._tokenizer.max_frames, self._tokenizer) - 2
            if room > 0 or latents > most:
                raise InvalidArgument(
                    f"{number_of(latents, 'latent frame')} do not fit: before the context slides there is room for "
                    f"{room or most}"
                )
            self._slide()
        chunk = self._at.chunks[-1]
        decoded = self._decode(chunk, latents)
        new = decoded.tokens.cpu().unflatten(1, (latents, *chunk.context.shape[2:]))
        self._at = self._at.last(chunk.add(new))
        frames = self._maker.newest(self._at.chunks[-1], latents) if pixels else None
        return Step(new, frames, decoded, time.perf_counter() - began)

    def fork(self, copies: int, *, crn: bool = True) -> "Session":
        """A new session with ``copies`` of each clip, one below the other; this one stays as it is.

        Args:
            copies: >= 1.
            crn: common random numbers: the copies are given the same noise as the original, so that what differs
                between them is what was done to them. Else each gets noise of its own from here on.
        """
        whole("copies", copies, 1)
        other = object.__new__(Session)
        other._tokenizer, other._chosen = self._tokenizer, self._chosen
        at, rows = self._at, [row for row in range(len(self)) for _ in range(copies)]
        names = tuple(at.names[row] for row in rows)
        if not crn:
            names = tuple(f"{name}/{at.latents}.{index % copies}" for index, name in enumerate(names))
        chunks = tuple(chunk.repeat(copies) for chunk in at.chunks)
        other._at = Snapshot(names, tuple(at.samples[row] for row in rows), at.start, chunks)
        other._kept, other._maker = self._kept.fork(copies), self._maker.fork(copies)
        return other

    def snapshot(self) -> Snapshot:
        """Where the session stands: a small record that ``restore`` goes back to, here or in another process."""
        return self._at

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of a session of as many clips, with the noise that it had.

        Raises InvalidArgument for a snapshot of another number of clips or of another grid.
        """
        of_kind("the snapshot", snapshot, Snapshot, "what Session.snapshot returns")
        there, here = (
            [*at.chunks[-1].before.shape, *at.chunks[-1].context.shape[2:]] for at in (snapshot, self._at)
        )
        if len(snapshot.names) != len(self) or there[2:] != here[2:]:
            raise InvalidArgument(
                f"the snapshot is of {number_of(len(snapshot.names), 'clip')} of {there[2:]}, this session has "
                f"{len(self)} of {here[2:]}"
            )
        self._at = snapshot

    def rewind(self, latents: int = 1) -> None:
        """Forget the last latent frames. Raises InvalidArgument for more than were decided."""
        if not 0 <= whole("latents", latents) <= self.latents:
            raise InvalidArgument(
                f"{number_of(latents, 'latent frame')} cannot be taken back: {self.latents} were decided"
            )
        self._at = self._at.rewound(latents)

    @property
    def _room(self) -> int:
        """Latent frames that fit before the context slides."""
        return latent_frames(self._tokenizer.max_frames, self._tokenizer) - self._at.chunks[-1].grid.shape[1]

    def _decode(self, chunk: ChunkRecord, latents: int) -> Decoded:
        model = self._kept
        context = flatten(model, chunk.grid.to(model.device))
        ids = [
            (name, self._at.start, sample, chunk.number)
            for name, sample in zip(self._at.names, self._at.samples, strict=True)
        ]
        count = latents * chunk.grid[0, 0].numel()
        decoded = finish(decode_steps(model, context, count, self._chosen, ids, Hooks()))
        # One lane ends with every entry but the last token's; others may leave some that drafts wrote.
        parts = self._chosen.parts
        one_lane = parts is None or isinstance(parts.lanes, RasterLane)
        if one_lane and (parts is None or parts.draft_tree is None or isinstance(model, TreeModel)):
            model.hold(torch.cat([context, decoded.tokens], 1)[:, :-1])
        return decoded

    def _slide(self) -> None:
        """Begin a chunk with the last frames as its context."""
        tokenizer, chunk = self._tokenizer, self._at.chunks[-1]
        first = frames_of(chunk.context.shape[1], tokenizer)
        predicted = torch.stack(
            [tokens_to_frames(clip, tokenizer, first, tokenizer.max_frames - first) for clip in chunk.grid]
        )
        tail = torch.cat([chunk.before, predicted], 1)[:, -(1 + tokenizer.stride_t) :]
        grids = torch.cat([frames_to_tokens([clip], tokenizer).cpu() for clip in tail])
        self._at = replace(
            self._at, chunks=(*self._at.chunks, _begun(chunk.number + 1, tail, grids, tokenizer))
        )


def _begun(
    number: int, frames: UInt8[Tensor, "b n H W c"], grids: GridTokens, tokenizer: VideoTokenizer
) -> ChunkRecord:
    before = frames[:, -(1 + tokenizer.stride_t) :].cpu()
    return ChunkRecord(number, before, grids.cpu(), grids[:, :0].cpu())


def _slots(chosen: Decoder, model: VideoModel) -> int:
    """Slots of the longest decode, with the siblings of its last window and the slot of all padding."""
    room = model.max_positions
    return 1 + (in_buckets(room) if chosen.parts is None else chosen.recipe(model, room).spare_slot)


def _clips(context_frames: Frames | Sequence[Frames]) -> list[Frames]:
    """The contexts one by one. Raises InvalidArgument for what are no frames, and for different lengths."""
    clips = [context_frames] if isinstance(context_frames, Tensor) else list(context_frames)
    if not clips:
        raise InvalidArgument("a session needs the frames of at least one clip")
    for clip in clips:
        check_frames(clip)
    lengths = sorted({len(clip) for clip in clips})
    if len(lengths) > 1:
        raise InvalidArgument(f"the contexts of a session are equally long, not {lengths} frames")
    return clips


def _names(names: object, clips: int) -> list[str]:
    if (
        isinstance(names, str)
        or not isinstance(names, Sequence)
        or not all(isinstance(n, str) for n in names)
    ):
        raise InvalidArgument("names must be a list of strings, one for each context")
    if len(names) != clips:
        raise InvalidArgument(f"{number_of(len(names), 'name')} for {number_of(clips, 'context')}")
    return list(names)
