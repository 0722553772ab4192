"""The workers that torchrun started, and what they say to each other (gloo)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from hsnn.monitoring.errors import HsnnError
from hsnn.trainer.distributed.shard import FULL_SHARD, QueryShard


class LostWorkerError(HsnnError):
    """Another worker is gone, or does not answer."""


class DivergedWorkersError(HsnnError):
    """Workers that should be the same to the last bit are not."""


class ProcessGroup:
    """The workers of one training run; everything here must be called by all of them in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this worker, from 0, and how many there are.
    fingerprint : int
        Checksum of all steps since the start, see `hsnn.trainer.optim.fingerprint`.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.fingerprint = 0

    def shard(self, queries: int) -> QueryShard:
        """Which of a step's queries this worker computes; all of them where there are too few to share out."""
        return QueryShard(self.rank, self.size) if queries >= self.size else FULL_SHARD

    def all_gather_ints(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """Return the n numbers of every worker, (size, n) int64."""
        own = torch.tensor(list(numbers), dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        with self.translated_errors("comparing notes"):
            dist.all_gather(found, own)
        return torch.stack(found).numpy()

    def all_gather_padded(self, blob: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return the bytes of every worker, whose lengths all know."""
        own = torch.zeros(int(max(lengths)), dtype=torch.uint8)
        own[: len(blob)] = torch.frombuffer(bytearray(blob), dtype=torch.uint8) if blob else own[:0]
        found = [torch.empty_like(own) for _ in range(self.size)]
        with self.translated_errors("sending batches"):
            dist.all_gather(found, own)
        return [one[:length].numpy().tobytes() for one, length in zip(found, map(int, lengths), strict=True)]

    def all_gather_bytes(self, blob: bytes) -> list[bytes]:
        """Return the bytes of every worker."""
        return self.all_gather_padded(blob, self.all_gather_ints([len(blob)])[:, 0])

    def broadcast_int(self, number: int) -> int:
        """Return the number that worker 0 gives."""
        told = torch.tensor([number], dtype=torch.int64)
        with self.translated_errors("listening to the first worker"):
            dist.broadcast(told, 0)
        return int(told)

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, of the same shapes in all workers, by their sums; all get the same bits."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self.translated_errors("adding up gradients"):
            dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def destroy(self) -> None:
        """Give back the connections."""
        with suppress(RuntimeError):
            dist.destroy_process_group()

    @contextmanager
    def translated_errors(self, doing: str) -> Iterator[None]:
        """Turn failures of a connection into words."""
        try:
            yield
        except (RuntimeError, dist.DistError) as error:
            raise LostWorkerError(
                f"worker {self.rank} of {self.size} lost another one while {doing} ({str(error).splitlines()[0]}); all "
                "end here, and go on from the newest checkpoint once they are started again (torchrun --max-restarts)"
            ) from error


def join_process_group(timeout: float, digest: str, environment: Mapping[str, str] = os.environ) -> ProcessGroup | None:
    """Join the workers that torchrun started; None in a process of its own.

    Parameters
    ----------
    timeout
        Seconds without a word after which another worker is taken for lost.
    digest
        Of the configuration, which must be the same in all.

    Raises
    ------
    DivergedWorkersError
        The workers were given different configurations.
    LostWorkerError
        Not all came.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        return None
    rank = int(environment["RANK"])
    world = ProcessGroup(rank, size)
    with world.translated_errors("meeting"):
        _meet(world, timedelta(seconds=timeout), environment.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if others := [at for at, theirs in enumerate(world.all_gather_bytes(digest.encode())) if theirs != digest.encode()]:
        raise DivergedWorkersError(
            f"worker {others[0]} has another configuration than worker {rank}; start all with the same file, "
            "environment and --set options"
        )
    return world


def _meet(world: ProcessGroup, timeout: timedelta, attempt: str) -> None:
    """Make the process group; torchrun keeps the store of addresses over restarts, so each attempt has its own page."""
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    page = PrefixStore(f"hsnn/{attempt}", store)
    dist.init_process_group("gloo", store=page, rank=world.rank, world_size=world.size, timeout=timeout)
