"""Stepping, forking and rewinding a world model."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vidjacobi.config.decoder import DecoderConfig
from vidjacobi.decoding.api import Decoder, choose_decoder, decode_steps
from vidjacobi.decoding.recipe import Hooks, in_buckets
from vidjacobi.decoding.step import PassCompiler
from vidjacobi.decoding.strategies.lanes import RasterLane
from vidjacobi.decoding.trace import Decoded, finish
from vidjacobi.errors import InvalidArgument, number_of
from vidjacobi.kinds import check_members, of_kind, whole
from vidjacobi.models.codec import check_frames
from vidjacobi.models.protocol import TreeModel, VideoModel, flatten
from vidjacobi.models.tokenizer import VideoTokenizer, check_lengths, latent_frames
from vidjacobi.sampling.probs import DEFAULT_SAMPLING, SamplingParams
from vidjacobi.session.actions import Condition, actions_of, agreeing, check_condition
from vidjacobi.session.clip_maker import ClipMaker, names_of
from vidjacobi.session.frame_maker import FrameMaker
from vidjacobi.session.kept_cache import KeptCache, kept_cache
from vidjacobi.session.record import ClipRecord, Latents, Snapshot, Step
from vidjacobi.shapes import Frames


class Session:
    """Clips of a world model that are decided latent frame by latent frame.

    With a decoder that gives AR's own tokens (``ar``, ``pathwise``), frames that are stepped one by one are those of
    one ``vidjacobi.rollout``: bit for bit where passes are exact (``Step.guarantee``). Other exact decoders draw from
    the same distribution. A clip's tokens do not depend on the other clips of its session.

    Beyond the length of the model a clip *slides*: its last frames (two latent frames) are encoded as a new context,
    as in a long rollout.

    Args:
        model, tokenizer: from ``vidjacobi.load``, or your own; not compiled.
        context_frames: the frames given, uint8 RGB ``[T H W 3]``, T = 1 + stride_t * k; or one such tensor for each
            clip.
        samples: futures of each context, each with noise of its own; row ``clip * samples + sample``.
        seed: of the noise; None: that of ``sampling``.
        decoder, window, sampling: as for ``vidjacobi.rollout``.
        names: one for each context, which keys its noise with ``start`` and the sample's number. By default the
            sha256 of its tokens, so that equal contexts have equal futures.
        start: a part of the key.
        condition: where latent frames follow actions: makes the condition of a clip out of its actions so far, of
            which entry i leads from latent frame i to the one after it (``condition`` of a loaded world's model).
            Clips of one name get the same noise whatever their actions are.
        context_actions: those between the latent frames of each context, where there are several.

    Raises:
        InvalidArgument: a number or name is out of range or of the wrong kind, or the model is compiled.
        BadModelOutput: the model returned NaN or infinite values.
    """

    def __init__(
        self,
        model: VideoModel,
        tokenizer: VideoTokenizer,
        context_frames: Frames | Sequence[Tensor],
        *,
        samples: int = 1,
        seed: int | None = None,
        decoder: str | DecoderConfig = "pathwise",
        window: int | None = None,
        sampling: SamplingParams = DEFAULT_SAMPLING,
        names: Sequence[str] | None = None,
        start: int = 0,
        condition: Condition | None = None,
        context_actions: Sequence[Sequence[Any]] | None = None,
    ) -> None:
        check_members("the model", model, VideoModel)
        check_members("the tokenizer", tokenizer, VideoTokenizer)
        if isinstance(model, PassCompiler):
            raise InvalidArgument("a session needs the model as it was loaded, without compile")
        if seed is not None:
            sampling = replace(of_kind("sampling", sampling, SamplingParams, "a SamplingParams"), seed=seed)
        self._tokenizer, self._chosen = tokenizer, choose_decoder(decoder, window, sampling)
        whole("start", start)
        self._condition, self._held_actions = condition, list[tuple[Any, ...]]()
        check_condition(model, condition)
        self._clip_maker = ClipMaker(model, tokenizer, condition)
        several = of_kind(
            "the frames", context_frames, (Tensor, Sequence), "a uint8 tensor [T H W 3], or a list of them"
        )
        given = [several] if isinstance(several, Tensor) else list(several)
        if not given:
            raise InvalidArgument("a session needs the frames of at least one clip")
        for clip in given:
            check_frames(clip)
            check_lengths(len(clip), 1, samples, tokenizer)
        named = [None] * len(given) if names is None else names_of(names, len(given))
        acted = [()] * len(given) if context_actions is None else context_actions
        if len(acted) != len(given):
            raise InvalidArgument(
                f"context_actions of {len(acted)} clips for {number_of(len(given), 'context')}"
            )
        begun = [
            self._clip_maker.begun(clip, name, start, actions)
            for clip, name, actions in zip(given, named, acted, strict=True)
        ]
        self._clips = [replace(clip, sample=sample) for clip in begun for sample in range(samples)]
        self._kept: KeptCache = kept_cache(model, len(self._clips), _slots(self._chosen, model))
        self._frame_makers = [FrameMaker(tokenizer) for _ in self._clips]

    def __len__(self) -> int:
        """Clips."""
        return len(self._clips)

    @property
    def tokens(self) -> list[Latents]:
        """The whole latent grid ``[t h w]`` of each clip: the first context's, then all latent frames decided."""
        return [clip.tokens for clip in self._clips]

    @property
    def latents(self) -> list[int]:
        """Latent frames of each clip decided so far."""
        return [clip.latents for clip in self._clips]

    def seen(self) -> list[Frames]:
        """The last frames of each clip: of its newest latent frame, or those given where nothing was decided."""
        found = []
        for maker, clip in zip(self._frame_makers, self._clips, strict=True):
            decided = len(clip.chunk.decided)
            found.append(
                maker.newest(clip.chunk, 1) if decided else clip.chunk.before[-self._tokenizer.stride_t :]
            )
        return found

    def step(self, actions: Sequence[Any] | None = None, *, latents: int = 1, pixels: bool = True) -> Step:
        """Decide the next latent frames of every clip.

        Args:
            actions: of each clip the action that leads to its next latent frame; for several latent frames a list of
                as many. None where the session has no ``condition``.
            latents: how many, >= 1. They are decided together, so that windows may reach from one into the next.
            pixels: whether to make their frames.

        Raises InvalidArgument for fewer than one, for more than fit behind a clip's context before it slides, and for
        actions that do not fit; the session stays as it was.
        """
        began = time.perf_counter()
        whole("latents", latents, 1)
        acted = actions_of(actions, latents, len(self), self._condition is not None)
        clips = [clip.act(own) for clip, own in zip(self._ready(latents), acted, strict=True)]
        decoded = self._decode(clips, latents)
        new = decoded.tokens.cpu().unflatten(1, (latents, *clips[0].chunk.context.shape[1:]))
        self._clips = [clip.add(own) for clip, own in zip(clips, new, strict=True)]
        frames = tuple(
            maker.newest(clip.chunk, latents)
            for maker, clip in zip(self._frame_makers if pixels else (), self._clips, strict=False)
        )
        return Step(new, frames, decoded, time.perf_counter() - began)

    def prefill(self, actions: Sequence[Any] | None = None) -> None:
        """Feed what is known of the clips now, so that forks share it; else each copy's first step would feed it.

        Nothing that is decided later depends on it. Of clips that differ in length, as much as the shortest has.

        Args:
            actions: any next action of each clip where the session follows actions; what they lead to is not kept.
        """
        acted = actions_of(actions, 1, len(self), self._condition is not None)
        self._clips = self._ready(1)
        model, clips = self._kept, [clip.act(own) for clip, own in zip(self._clips, acted, strict=True)]
        contexts = [flatten(model, clip.chunk.grid[None].to(model.device))[0] for clip in clips]
        shortest = min(map(len, contexts))
        if self._condition is not None:
            self._forget(clips)
        conditions = None if self._condition is None else [self._condition(c.chunk.actions) for c in clips]
        model.feed(torch.stack([context[:shortest] for context in contexts]), conditions)
        self._held_actions = [clip.chunk.actions for clip in clips]

    def begin(
        self,
        clip: int,
        context_frames: Frames,
        name: str | None = None,
        start: int = 0,
        context_actions: Sequence[Any] = (),
    ) -> None:
        """Give a row to another clip, as the constructor would. Raises InvalidArgument; the row stays as it was."""
        if not 0 <= whole("clip", clip) < len(self):
            raise InvalidArgument(f"there is no clip {clip}: this session has {len(self)}")
        check_frames(context_frames)
        check_lengths(len(context_frames), 1, 1, self._tokenizer)
        own = None if name is None else names_of([name], 1)[0]
        begun = self._clip_maker.begun(context_frames, own, whole("start", start), context_actions)
        self._clips[clip] = begun

    def fork(self, copies: int, *, crn: bool = True) -> "Session":
        """A new session with ``copies`` of each clip, one below the other; this one stays as it is.

        Args:
            copies: >= 1.
            crn: common random numbers: the copies are given the same noise as the original, so that what differs
                between them is what was done to them. Else each gets noise of its own from here on, which is the
                same whenever this session is forked here.
        """
        whole("copies", copies, 1)
        other = object.__new__(Session)
        other._tokenizer, other._chosen, other._condition = self._tokenizer, self._chosen, self._condition
        other._clip_maker = self._clip_maker
        other._held_actions = [held for held in self._held_actions for _ in range(copies)]
        other._clips = [
            clip if crn else replace(clip, name=f"{clip.name}/{clip.latents}.{index}")
            for clip in self._clips
            for index in range(copies)
        ]
        other._kept = self._kept.fork(copies)
        other._frame_makers = [maker.fork() for maker in self._frame_makers for _ in range(copies)]
        return other

    def snapshot(self) -> Snapshot:
        """Where the session stands: a small record that ``restore`` goes back to, here or in another process."""
        model, seed = self._kept, self._chosen.sampling.seed
        return Snapshot(tuple(self._clips), seed, model.vocab_size, self._condition is not None)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of a session of the same model, of as many clips and of the same seed.

        Raises InvalidArgument for one of another number of clips, grid, vocabulary or seed, and for one with actions
        where this session has none, or the reverse.
        """
        of_kind("the snapshot", snapshot, Snapshot, "what Session.snapshot returns").check(self.snapshot())
        self._clips = list(snapshot.clips)

    def rewind(self, latents: int = 1) -> None:
        """Forget the last latent frames of every clip. Raises InvalidArgument for more than were decided."""
        fewest = min(self.latents)
        if not 0 <= whole("latents", latents) <= fewest:
            raise InvalidArgument(
                f"{number_of(latents, 'latent frame')} cannot be taken back: {fewest} were decided"
            )
        self._clips = [clip.rewound(latents) for clip in self._clips]

    def _ready(self, latents: int) -> list[ClipRecord]:
        """The clips, those without room slid. Raises InvalidArgument where so many latent frames do not fit then."""
        longest = latent_frames(self._tokenizer.max_frames, self._tokenizer)
        rooms = [longest - len(clip.chunk.grid) for clip in self._clips]
        # Without room (0) a clip slides first, and has the room of a new chunk.
        fewest = min(room or longest - 2 for room in rooms)  # a new chunk begins with two latent frames
        if latents > fewest:
            raise InvalidArgument(
                f"{number_of(latents, 'latent frame')} do not fit: room for {fewest} before the context slides"
            )
        return [
            clip if room else self._clip_maker.slid(clip)
            for clip, room in zip(self._clips, rooms, strict=True)
        ]

    def _forget(self, clips: Sequence[ClipRecord]) -> None:
        """Forget what other actions led to: they ride on the last cell of the latent frame in front of theirs."""
        # Frames of 4 cells, of which the first two actions agree: entries 0 to 10 stay. Entry 11, the last cell of
        # latent frame 2, was fed with the old third action.
        if self._held_actions:
            agreed = map(agreeing, self._held_actions, (clip.chunk.actions for clip in clips))
            cells, special = clips[0].chunk.grid[0].numel(), len(self._kept.prefix_tokens)
            self._kept.forget([special + (actions + 1) * cells - 1 for actions in agreed])

    def _decode(self, clips: Sequence[ClipRecord], latents: int) -> Decoded:
        model = self._kept
        contexts = [flatten(model, clip.chunk.grid[None].to(model.device))[0] for clip in clips]
        count = latents * clips[0].chunk.grid[0].numel()
        conditions = None
        if self._condition is not None:
            conditions = [self._condition(clip.chunk.actions) for clip in clips]
            self._forget(clips)
        keys = [clip.key for clip in clips]
        with torch.inference_mode():  # as prefills and forks of its cache
            decoded = finish(decode_steps(model, contexts, count, self._chosen, keys, Hooks(), conditions))
        # One lane ends with every entry but the last token's; others may leave some that drafts wrote.
        parts, held = self._chosen.parts, contexts
        one_lane = parts is None or isinstance(parts.lanes, RasterLane)
        if one_lane and (parts is None or parts.draft_tree is None or isinstance(model, TreeModel)):
            new = zip(contexts, decoded.tokens, strict=True)
            # The last token was decided and never fed.
            held = [torch.cat([context, own])[:-1] for context, own in new]
        model.hold(held)
        self._held_actions = [clip.chunk.actions for clip in clips]
        return decoded


def _slots(chosen: Decoder, model: VideoModel) -> int:
    """Slots of the longest decode, with the siblings of its last window and the slot of all padding."""
    room = model.max_positions
    return 1 + (in_buckets(room) if chosen.parts is None else chosen.recipe(model, room).spare_slot)
