"""Chunks of logits, cut anew: what one model yields is taken in the portions that suit several."""

from collections.abc import Iterator

from vidjacobi.shapes import Logits


class LogitsBuffer:
    """Logits of one branch that arrive in chunks and are taken in portions of other sizes."""

    def __init__(self, chunks: Iterator[Logits]) -> None:
        self._chunks = iter(chunks)
        self._rest: Logits | None = None

    def available(self) -> int:
        """The number of inputs whose logits are at hand, at least one; fetches the next chunk if there are none."""
        if self._rest is None or not self._rest.shape[1]:
            self._rest = next(self._chunks)
        return self._rest.shape[1]

    def close(self) -> None:
        """Nothing more is wanted. Raises BadModelOutput where the branch has more."""
        for _ in self._chunks:
            pass

    def take(self, count: int) -> Logits:
        """The logits ``[b count v]`` of the next ``count`` inputs, which must be at hand."""
        assert self._rest is not None
        taken, self._rest = self._rest[:, :count], self._rest[:, count:]
        return taken
