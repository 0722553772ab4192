"""Threads of torch and numpy."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits


def use_threads(count: int) -> None:
    """Set torch to `count` threads and numpy's BLAS to one; call once, after the imports of a process.

    BLAS keeps a busy-waiting thread per core, and they compete with torch's: on two cores a training step with two
    threads took a third longer.

    Examples
    --------
    >>> use_threads(1)
    >>> torch.get_num_threads()
    1
    """
    torch.set_num_threads(count)
    threadpool_limits(limits=1, user_api="blas")
