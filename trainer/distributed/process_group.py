"""The process group of the workers that torchrun started, and its collective operations (gloo)."""

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
from hsnn.trainer.distributed.meeting import agree_on_round
from hsnn.trainer.distributed.shard import FULL_SHARD, QueryShard


class LostWorkerError(HsnnError):
    """Another worker has failed or does not answer."""


class DivergedWorkersError(HsnnError):
    """Workers that should be bit-identical are not."""


class ProcessGroup:
    """The workers of one training run; all of them must call its operations in the same order.

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
        """Return this worker's shard of a step's queries; all of them where there are fewer than workers."""
        return QueryShard(self.rank, self.size) if queries >= self.size else FULL_SHARD

    def all_gather_ints(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        """All-gather n numbers; return those of every worker, (size, n) int64."""
        own = torch.tensor(list(numbers), dtype=torch.int64)
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with self.translated_errors("exchanging status"):
            dist.all_gather(gathered, own)
        return torch.stack(gathered).numpy()

    def all_gather_padded(self, blob: bytes, lengths: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """All-gather bytes whose lengths all workers know, padded to the longest."""
        own = torch.zeros(int(max(lengths)), dtype=torch.uint8)
        own[: len(blob)] = torch.frombuffer(bytearray(blob), dtype=torch.uint8) if blob else own[:0]
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with self.translated_errors("sending batches"):
            dist.all_gather(gathered, own)
        return [padded[:length].numpy().tobytes() for padded, length in zip(gathered, map(int, lengths), strict=True)]

    def all_gather_bytes(self, blob: bytes) -> list[bytes]:
        """All-gather bytes of unknown lengths."""
        return self.all_gather_padded(blob, self.all_gather_ints([len(blob)])[:, 0])

    def broadcast_int(self, number: int) -> int:
        """Broadcast the number of worker 0."""
        value = torch.tensor([number], dtype=torch.int64)
        with self.translated_errors("receiving a broadcast"):
            dist.broadcast(value, 0)
        return int(value)

    def all_reduce_sum(self, tensors: Sequence[Tensor]) -> None:
        """All-reduce tensors of the same shapes to their sums, in place; bit-identical in all workers."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self.translated_errors("reducing gradients"):
            dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view(tensor.shape))

    def destroy(self) -> None:
        """Close the connections."""
        with suppress(RuntimeError):
            dist.destroy_process_group()

    @contextmanager
    def translated_errors(self, doing: str) -> Iterator[None]:
        """Translate connection failures into `LostWorkerError`."""
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
        Seconds without an answer after which another worker counts as lost.
    digest
        Digest of the configuration, which must be the same in all workers.

    Raises
    ------
    DivergedWorkersError
        The workers have different configurations.
    LostWorkerError
        Not all workers joined.
    """
    size = int(environment.get("WORLD_SIZE", "1"))
    if size == 1:
        return None
    rank = int(environment["RANK"])
    world = ProcessGroup(rank, size)
    with world.translated_errors("joining the process group"):
        _init_process_group(world, timedelta(seconds=timeout))
    if others := [
        rank_ for rank_, theirs in enumerate(world.all_gather_bytes(digest.encode())) if theirs != digest.encode()
    ]:
        raise DivergedWorkersError(
            f"worker {others[0]} has another configuration than worker {rank}; start all with the same file, "
            "environment and --set options"
        )
    return world


def _init_process_group(world: ProcessGroup, timeout: timedelta) -> None:
    """Create the process group; torchrun keeps its address store over restarts, so each start has its own prefix."""
    store, _, _ = next(rendezvous("env://", timeout=timeout))
    meeting = PrefixStore("hsnn/meeting", store)
    prefixed = PrefixStore(f"hsnn/{agree_on_round(meeting, world.rank, world.size, timeout.total_seconds())}", store)
    dist.init_process_group("gloo", store=prefixed, rank=world.rank, world_size=world.size, timeout=timeout)
