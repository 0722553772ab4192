"""Workers as threads of this process, who say to each other what torchrun's would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.distributed.process_group import ProcessGroup


class ThreadWorld(ProcessGroup):
    """A worker whose others are threads."""

    def __init__(self, rank: int, size: int, barrier: Barrier, board: list[Any]) -> None:
        super().__init__(rank, size)
        self._barrier, self._board = barrier, board

    def _all(self, own: Any) -> list[Any]:
        self._board[self.rank] = own
        self._barrier.wait(10)
        found = list(self._board)
        self._barrier.wait(10)
        return found

    def all_gather_ints(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        return np.array(self._all(list(numbers)), np.int64)

    def all_gather_padded(self, blob: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        found = self._all(blob)
        assert [len(one) for one in found] == list(lengths)
        return found

    def broadcast_int(self, number: int) -> int:
        told: int = self._all(number)[0]
        return told

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        everybodys = self._all([tensor.clone() for tensor in tensors])
        for at, tensor in enumerate(tensors):
            tensor.copy_(sum(theirs[at] for theirs in everybodys))


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """``together(2, work)``: what ``work(world)`` returns in each of so many workers."""

    def run(size: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
        barrier, board = Barrier(size), [None] * size

        def one(rank: int) -> Any:
            try:
                return work(ThreadWorld(rank, size, barrier, board))
            except BaseException:
                barrier.abort()
                raise

        with ThreadPoolExecutor(size) as pool:
            return [future.result() for future in [pool.submit(one, rank) for rank in range(size)]]

    return run
