"""An arena: memory that a process and its forks share, given out in blocks by the one of them that writes."""

from __future__ import annotations

import ctypes
import mmap
import os
from bisect import bisect_right, insort
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from hsnn.trainer.rowstore.arrays import Array

# Bytes that blocks begin and end at multiples of: a line of a processor's cache, which vector instructions read whole.
_LINE = 64

# Bytes of a free span from which on its pages are given back to the system; smaller ones are soon used again.
_RETURNED = 1 << 18


class Span(NamedTuple):
    """A span of an arena, in bytes."""

    start: int
    size: int


class Arena:
    """Anonymous memory, of which pages count once they are written to.

    It has to be made before the processes are forked that share it. A file without a name holds it, because such memory
    is neither limited by the size of ``/dev/shm`` nor left behind by processes that are killed.

    Parameters
    ----------
    size
        Bytes of address space, by default as many as the machine has memory.
    """

    def __init__(self, size: int | None = None) -> None:
        size = os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE if size is None else size
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        file = os.memfd_create("hsnn-mirror")
        try:
            os.ftruncate(file, self.size)
            self._memory = mmap.mmap(file, self.size)
            self._read_only = mmap.mmap(file, self.size, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        self._written = _exposed(self._memory)
        # Compiled kernels have one type for arrays that may be written and another for those that may not, so both
        # mappings say that they may: the system stops who writes to this one.
        self._read = _exposed(self._read_only)
        self._first = ctypes.addressof(self._written)
        self._free, self._blocks = [Span(0, self.size)], list[Span]()

    def reset(self, blocks: Iterable[Span]) -> None:
        """Take all but `blocks` for free: for a writer in place of another one."""
        self._blocks = sorted(blocks)
        ends = [0, *(block.start + block.size for block in self._blocks)]
        starts = [*(block.start for block in self._blocks), self.size]
        self._free = [Span(end, start - end) for end, start in zip(ends, starts, strict=True) if start > end]
        for block in self._free:
            self._give_back(block)

    def allocate(self, size: int) -> Span:
        """Take a block of at least `size` bytes.

        Raises
        ------
        MemoryError
            No free span is large enough.
        """
        needed = self.block_at(0, size).size
        for at, (start, room) in enumerate(self._free):
            if room >= needed:
                block = Span(start, needed)
                if room == needed:
                    del self._free[at]
                else:
                    self._free[at] = Span(start + needed, room - needed)
                insort(self._blocks, block)
                return block
        raise MemoryError(f"the mirror outgrows the memory of the machine, {self.size >> 20} MiB")

    def block_at(self, start: int, size: int) -> Span:
        """Return the block that was taken for so many bytes, and begins at `start`."""
        return Span(start, -(-max(size, 1) // _LINE) * _LINE)

    def free(self, block: Span) -> None:
        """Give a block back."""
        self._blocks.remove(block)
        insort(self._free, block)
        at = self._free.index(block)
        while at + 1 < len(self._free) and sum(self._free[at]) == self._free[at + 1].start:
            self._free[at] = Span(self._free[at].start, self._free[at].size + self._free.pop(at + 1).size)
        if at and sum(self._free[at - 1]) == self._free[at].start:
            self._free[at - 1] = Span(self._free[at - 1].start, self._free[at - 1].size + self._free.pop(at).size)
            at -= 1
        if block.size >= _RETURNED:
            self._give_back(block)

    @property
    def used(self) -> int:
        """Bytes in blocks."""
        return sum(block.size for block in self._blocks)

    def block_of(self, array: Array) -> Span | None:
        """Return the block that the memory of an array is in, of the mapping that may be written; None elsewhere."""
        start = self.offset(array)
        at = bisect_right(self._blocks, (start, self.size)) - 1
        return self._blocks[at] if 0 <= start < self.size and at >= 0 else None

    def offset(self, array: Array) -> int:
        """Return where the memory of an array begins, from the beginning of the mapping that may be written."""
        return int(array.__array_interface__["data"][0]) - self._first

    def view(
        self, start: int, shape: tuple[int, ...], dtype: DTypeLike, strides: tuple[int, ...], *, writes: bool
    ) -> Array:
        """Return memory as an array; one that is not to be written to ends the process that does it all the same."""
        memory = self._written if writes else self._read
        return np.ndarray(shape, dtype, buffer=memory, offset=start, strides=strides)  # type: ignore[arg-type]

    def write(self, data: bytes) -> Span:
        """Write bytes to a new block."""
        block = self.allocate(len(data))
        self._memory[block.start : block.start + len(data)] = data
        return block

    def read(self, start: int, size: int) -> memoryview:
        """Return bytes as they are in memory."""
        return memoryview(self._read_only)[start : start + size]

    def _give_back(self, block: Span) -> None:
        """Give whole pages back to the system."""
        start = -(-block.start // mmap.PAGESIZE) * mmap.PAGESIZE
        size = sum(block) // mmap.PAGESIZE * mmap.PAGESIZE - start
        if size > 0:
            self._memory.madvise(mmap.MADV_REMOVE, start, size)


def _exposed(memory: mmap.mmap) -> ctypes.Array[ctypes.c_char]:
    """Return a mapping as a buffer; the address is the same as long as the mapping is there."""
    address = int(np.frombuffer(memory, np.uint8).__array_interface__["data"][0])
    return (ctypes.c_char * len(memory)).from_address(address)
