"""A process group of threads of this process, with the collective operations of torchrun's workers."""

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


class ThreadProcessGroup(ProcessGroup):
    """The process group of a worker whose peers are threads."""

    def __init__(self, rank: int, size: int, barrier: Barrier, board: list[Any]) -> None:
        super().__init__(rank, size)
        self._barrier, self._board = barrier, board

    def _all(self, own: Any) -> list[Any]:
        self._board[self.rank] = own
        self._barrier.wait(10)
        gathered = list(self._board)
        self._barrier.wait(10)
        return gathered

    def all_gather_ints(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        return np.array(self._all(list(numbers)), np.int64)

    def all_gather_padded(self, blob: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        gathered = self._all(blob)
        assert [len(received) for received in gathered] == list(lengths)
        return gathered

    def broadcast_int(self, number: int) -> int:
        value: int = self._all(number)[0]
        return value

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        gathered = self._all([tensor.clone() for tensor in tensors])
        for index, tensor in enumerate(tensors):
            tensor.copy_(sum(theirs[index] for theirs in gathered))


@pytest.fixture
def together() -> Callable[..., list[Any]]:
    """``together(2, work)``: what ``work(world)`` returns in each of so many workers."""

    def run(size: int, work: Callable[[ProcessGroup], Any]) -> list[Any]:
        barrier, board = Barrier(size), [None] * size

        def one(rank: int) -> Any:
            try:
                return work(ThreadProcessGroup(rank, size, barrier, board))
            except BaseException:
                barrier.abort()
                raise

        with ThreadPoolExecutor(size) as pool:
            return [future.result() for future in [pool.submit(one, rank) for rank in range(size)]]

    return run
