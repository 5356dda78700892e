"""Where the clips of an episode begin, and what is done with episodes that are too short."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vidjacobi.datasets.contract import Entry, Episode, FrameSource, Skipped
from vidjacobi.errors import BadInput, InvalidArgument, number_of
from vidjacobi.registry import lookup
from vidjacobi.video.records import ReadClip


def first(last: int, number: int, seed: int, episode: str) -> list[int]:
    """Only the beginning of the episode."""
    return [0]


def every(last: int, number: int, seed: int, episode: str) -> list[int]:
    """0, number, 2 * number, ... as long as a whole clip fits; ``last`` is the last possible start."""
    return list(range(0, last + 1, number))


def at_random(last: int, number: int, seed: int, episode: str) -> list[int]:
    """``number`` different starts, or all there are. They depend on nothing but seed, id and length."""
    # Every possible start has a pseudo-random rank, a hash of seed, id and start, and the lowest ranks win. A longer
    # list of starts then contains the shorter one, and no other episode has an influence.

    def rank(start: int) -> bytes:
        return hashlib.sha256(f"{seed}\x1f{episode}\x1f{start}".encode("utf-8", "replace")).digest()

    return sorted(sorted(range(last + 1), key=rank)[:number])


# (last possible start, number, seed, episode id) -> starts
STARTS: dict[str, Callable[[int, int, int, str], list[int]]] = {
    "first": first,
    "every": every,
    "random": at_random,
}


@dataclass(frozen=True)
class Starts:
    """A rule of STARTS and its number, such as first, every:16 or random:4."""

    name: str
    number: int = 1

    def of(self, length: int, needed: int, seed: int, episode: str) -> list[int]:
        """The starts of clips of ``needed`` frames in an episode of ``length`` frames; none where it is too short."""
        return STARTS[self.name](length - needed, self.number, seed, episode) if length >= needed else []


def parse_starts(text: str) -> Starts:
    """The rule that a text ``first``, ``every:N`` or ``random:N`` names. Raises InvalidArgument."""
    name, colon, number = text.partition(":")
    lookup("rule of starts", name, STARTS)
    if name == "first":
        if colon:
            raise InvalidArgument(f"starts: first takes no number, not {text!r}")
        return Starts(name)
    if not number.isdecimal() or int(number) < 1:
        raise InvalidArgument(f"starts: {name}:N with a whole number from 1 on is needed, not {text!r}")
    return Starts(name, int(number))


def _skip(entry: Episode, there: int, needed: int) -> Entry:
    return Skipped(entry.id, _too_short(entry, there, needed))


def _pad(entry: Episode, there: int, needed: int) -> Entry:
    padded = {**entry.metadata, "padded": needed - there}
    return replace(entry, frames=Padded(entry.frames, needed), metadata=padded)


def _error(entry: Episode, there: int, needed: int) -> Entry:
    raise BadInput(f"{_too_short(entry, there, needed)}; allow it with skip or pad")


# (episode, frames that it has, frames that are needed) -> what is used instead
SHORT: dict[str, Callable[[Episode, int, int], Entry]] = {"skip": _skip, "pad": _pad, "error": _error}


def fit_length(entry: Episode, there: int, needed: int, policy: str) -> Entry:
    """The episode if its ``there`` frames are enough, or else what the ``policy`` of SHORT makes of it.

    A padded episode repeats its last frame, and its metadata says how often. Raises BadInput for the policy "error"
    and InvalidArgument for an unknown one.
    """
    shorten = lookup("policy for short episodes", policy, SHORT)
    if there >= needed:
        return entry
    if there < 1:
        return Skipped(entry.id, f"{entry.source}: it has no frames")
    return shorten(entry, there, needed)


@dataclass(frozen=True)
class Padded:
    """A source that repeats its last frame until there are ``length`` frames."""

    frames: FrameSource
    length: int

    def count(self) -> int:
        """Number of frames, repeated ones included."""
        return max(self.length, self.frames.count())

    def read(self, start: int, count: int, stride: int = 1) -> ReadClip:
        """See FrameSource; the notes say how many frames were repeated."""
        there, end = self.frames.count(), start + (count - 1) * stride
        if end < there:
            return self.frames.read(start, count, stride)
        if start < 0 or end >= self.length:
            raise BadInput(
                f"{number_of(count, 'frame')} needed from frame {start} on with stride {stride}, "
                f"but the padded episode has {self.length}"
            )
        # 10 frames are there; 4 frames from frame 6 with stride 2 are 6 and 8, then frame 9 twice: real is 2. From
        # frame 12 on all are repeats: real is 0.
        real = max(0, -(-(there - start) // stride))
        clip = self.frames.read(start, real, stride) if real else None
        last = self.frames.read(there - 1, 1)
        again = last.pictures.repeat(count - real, axis=0)
        pictures = np.concatenate([clip.pictures, again]) if clip else again
        known = clip or replace(last, fps=last.fps / stride)
        note = f"padded: the last {count - real} of these frames repeat the episode's last one"
        return replace(known, pictures=pictures, start=start, notes=(*known.notes, note))


def _too_short(entry: Episode, there: int, needed: int) -> str:
    return f"{entry.source}: too short: {number_of(there, 'frame')}, but {needed} are needed"
