"""Workers meet: those of one start agree on a name of it, although their store outlives starts and counts none.

torchrun keeps the store of a run over restarts, so that each start needs names of its own. The agents of several hosts
count restarts apart: after a worker of one host was lost, their counts differ. So the workers agree among themselves.
Worker 0 proposes a round that lists who it has seen, each by a random number; everybody who finds himself in it agrees;
once all have, worker 0 opens the round. What an earlier start has left in the store is never agreed to, as its random
numbers are others.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence

from torch.distributed import DistStoreError
from torch.distributed.distributed_c10d import Store

# Seconds between two looks at the store: far less than a start takes, and a hundred workers ask 2,000 times a second.
_POLL_SECONDS = 0.05


def agree_on_round(
    store: Store, rank: int, size: int, timeout: float, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Wait until all workers of this start are there, and return the name that they agree on.

    Parameters
    ----------
    store
        Shared by all workers; it may hold what earlier starts have left.
    timeout
        Seconds after which missing workers are given up.

    Raises
    ------
    DistStoreError
        Not all workers came in time.
    """
    own, end = uuid.uuid4().hex, time.monotonic() + timeout
    store.set(_arrival(rank), own)
    proposed: list[str] = []
    name = ""
    while True:
        if rank == 0:
            arrivals = _read_all(store, [_arrival(other) for other in range(size)])
            if arrivals != proposed:  # somebody came, or came again
                proposed, name = arrivals, uuid.uuid4().hex
                store.set("proposed", json.dumps([name, *proposed]))
            agreed = _read_all(store, [_agreement(other) for other in range(1, size)])
            if all(proposed) and agreed == [name] * (size - 1):
                store.set("opened", name)
                return name
        else:
            text = _read_all(store, ["proposed"])[0]
            name, *present = json.loads(text) if text else ("", *[""] * size)
            if present[rank] == own:
                store.set(_agreement(rank), name)
                if _read_all(store, ["opened"])[0] == name:
                    return name
        if time.monotonic() > end:
            missing = [number for number, seen in enumerate(proposed) if not seen]
            who = f"of workers {', '.join(map(str, missing))}" if missing else "of all other workers"
            raise DistStoreError(f"no sign {who} within {timeout:g} s")
        sleep(_POLL_SECONDS)


def _arrival(rank: int) -> str:
    return f"arrived/{rank}"


def _agreement(rank: int) -> str:
    return f"agreed/{rank}"


def _read_all(store: Store, keys: Sequence[str]) -> list[str]:
    """Read keys without waiting for them; empty where there is none."""
    return [store.get(key).decode() if store.check([key]) else "" for key in keys]
