"""The pieces of a batch: episodes of a shard, contexts of an episode, futures of a context."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from vidjacobi.datasets import Episode
from vidjacobi.errors import InvalidArgument

T = TypeVar("T")


class Item(NamedTuple):
    """What one row of the manifest is about: a future, or (start and sample None) an episode without any."""

    episode: str
    start: int | None = None
    sample: int | None = None


@dataclass(frozen=True)
class Task:
    """One context: an episode from one start, and the futures of it that are missing.

    ``starts``: how many contexts the episode has.
    """

    episode: Episode
    start: int
    samples: tuple[int, ...]
    starts: int

    @property
    def items(self) -> list[Item]:
        """Its rows of the manifest."""
        return [Item(self.episode.id, self.start, sample) for sample in self.samples]


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th episode from the ``index``-th on."""

    index: int = 0
    count: int = 1

    def part(self, worker: int, workers: int) -> "Shard":
        """The share of one of several workers."""
        return Shard(self.index + self.count * worker, self.count * workers)

    def of(self, entries: Iterable[T]) -> Iterator[T]:
        """Its entries."""
        return (entry for number, entry in enumerate(entries) if number % self.count == self.index)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard:
    """``i/n`` with 0 <= i < n. Raises InvalidArgument."""
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or int(index) >= int(count):
        raise InvalidArgument(f"shard: i/n with i from 0 to n - 1 is needed, such as 0/4, not {text!r}")
    return Shard(int(index), int(count))
