"""Out of memory: fewer rows, and on."""

import time
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import torch

from vidjacobi.batch.threads import CancelToken

T = TypeVar("T")
_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
_LOOK = 0.05


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or in this process."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


class Rows:
    """How many futures are decoded at a time; halved when memory runs out, never raised again.

    Attributes:
        now: as decoding uses it. wanted: as it should be; smaller where another thread needs memory.
    """

    def __init__(self, count: int, tell: Callable[[str], None]) -> None:
        self.now = self.wanted = count
        self._lock, self._tell = Lock(), tell

    def halve(self, why: str) -> bool:
        """Ask for half of the rows; False where there is one only."""
        with self._lock:
            if self.wanted < self.now:
                return True  # is on its way
            if self.now == 1:
                return False
            self.wanted = self.now // 2
            self._tell(f"out of memory ({why}): {self.wanted} rows instead of {self.now} from here on")
            return True

    def settle(self) -> None:
        """Decoding has let go of its rows and takes the smaller number."""
        with self._lock:
            self.now = self.wanted
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def sparing(self, work: Callable[[], T], why: str, brake: CancelToken) -> T:
        """Do ``work``, beside a decoding thread that makes room for it where memory runs out."""
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error) or not self.halve(why):
                    raise
            while self.wanted < self.now:  # until decoding has settled
                brake.check()
                time.sleep(_LOOK)
