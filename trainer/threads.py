"""The threads that a process does its arithmetic with."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits


def use_threads(count: int) -> None:
    """Give torch so many threads, and numpy one; call once, when a process's modules are imported.

    numpy's BLAS would keep a thread per core of its own awake, and they take turns with torch's: on two cores a
    training step with two threads took a third longer.

    Examples
    --------
    >>> use_threads(1)
    >>> torch.get_num_threads()
    1
    """
    torch.set_num_threads(count)
    threadpool_limits(limits=1, user_api="blas")
