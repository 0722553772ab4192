"""Images of a mirror's state: its Python objects as a pickle, its arrays where they lie in an arena.

An image is small, and made and read in about a millisecond, because all that grows with items and users is in arrays.
Arrays that are in the arena stay where they are; others, those that grew or were made anew, are moved there.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import numpy as np

from hsnn.serving.sharing.arena import Arena, Span
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.model.scorer import Scorer
from hsnn.trainer.retrieval.item_scores import StateTowerWeights
from hsnn.trainer.retrieval.user_towers import TowerWeights
from hsnn.trainer.rowstore.arrays import Array

# Bytes from which on an array is in the arena: smaller ones are copied with the objects in less time than they are
# looked up.
_LEAST = 1024

# Types of objects that never change, and are written once for all images that hold them.
_CONSTANTS = (Scorer, ModelConfig, TowerWeights, StateTowerWeights)


class Image(NamedTuple):
    """An image: its bytes, and the blocks of the arena that it refers to."""

    data: bytes
    blocks: frozenset[Span]


class ConstantName(NamedTuple):
    """Where an object is that never changes; no other one has its number."""

    number: int
    start: int
    size: int


class _Constant(NamedTuple):
    """An object that never changes: as it was given, as it is in the arena, and all blocks that it takes."""

    original: Any
    kept: Any
    name: ConstantName
    blocks: frozenset[Span]


class ImageWriter:
    """Makes images, and reads them back with arrays that may be written to.

    Objects are moved to the arena once: what is given again before `forget_originals` is found where it was moved to.
    """

    def __init__(self, arena: Arena, first_number: int = 0) -> None:
        self.arena, self._number = arena, first_number
        self._constants: list[_Constant] = []
        self._moved: dict[int, tuple[Array, Span]] = {}

    def write(self, thing: Any) -> Image:
        """Make an image of an object."""
        file = io.BytesIO()
        pickler = _Pickler(file, self, thing)
        pickler.dump(thing)
        return Image(file.getvalue(), frozenset(pickler.blocks))

    def read(self, data: bytes) -> Any:
        """Return what an image shows."""
        return _WritingUnpickler(io.BytesIO(data), self).load()

    def forget_originals(self, blocks: frozenset[Span]) -> None:
        """Let go of what was moved to the arena, and of constants that are not in `blocks`."""
        self._moved.clear()
        self._constants = [
            constant._replace(original=None) for constant in self._constants if constant.blocks <= blocks
        ]

    def constant(self, thing: Any) -> _Constant:
        """Return where an object is that never changes; it is written if it is new."""
        for constant in self._constants:
            if constant.kept is thing or constant.original is thing:
                return constant
        data, blocks = self.write(thing)
        block = self.arena.write(data)
        self._number += 1
        name = ConstantName(self._number, block.start, len(data))
        constant = _Constant(thing, self.read(data), name, blocks | {block})
        self._constants.append(constant)
        return constant

    def kept(self, name: ConstantName) -> Any:
        """Return the object of a name."""
        return next(constant.kept for constant in self._constants if constant.name == name)

    def moved(self, owner: Array) -> Span:
        """Return the block of an array that is contiguous; it is copied there if that was not done before."""
        known = self._moved.get(id(owner))
        if known is None:
            block = self.arena.allocate(owner.nbytes)
            view = self.arena.view(block.start, owner.shape, owner.dtype, owner.strides, writes=True)
            view[...] = owner
            known = self._moved[id(owner)] = owner, block
        return known[1]


class ImageReader:
    """Reads images, with arrays that may not be written to."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._constants: dict[ConstantName, Any] = {}

    def read(self, data: memoryview) -> tuple[Any, frozenset[ConstantName]]:
        """Return what an image shows, and the constants in it."""
        unpickler = _ReadingUnpickler(io.BytesIO(data), self)
        return unpickler.load(), frozenset(unpickler.constants)

    def kept(self, name: ConstantName) -> Any:
        """Return the object of a name, reading it where it is new."""
        if name not in self._constants:
            data = self.arena.read(name.start, name.size)
            self._constants[name] = _ReadingUnpickler(io.BytesIO(data), self).load()
        return self._constants[name]

    def forget(self, but: frozenset[ConstantName]) -> None:
        """Let go of all constants but these, and those in them."""
        for name in self._constants.keys() - but:
            del self._constants[name]


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, writer: ImageWriter, root: Any) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._writer, self._root = writer, root
        self.blocks: set[Span] = set()

    def persistent_id(self, thing: Any) -> Any:
        """Name arrays of the arena by their place, and constants by their number."""
        kind = type(thing)
        if kind is np.ndarray:
            return self._place(thing)
        if kind in _CONSTANTS and thing is not self._root:
            constant = self._writer.constant(thing)
            self.blocks |= constant.blocks
            return constant.name
        return None

    def _place(self, array: Array) -> tuple[int, tuple[int, ...], Any, tuple[int, ...]] | None:
        arena = self._writer.arena
        block = arena.block_of(array)
        if block is not None:
            self.blocks.add(block)
            return arena.offset(array), array.shape, array.dtype, array.strides
        owner = array
        while type(owner.base) is np.ndarray:
            owner = owner.base
        if owner.nbytes < _LEAST or owner.dtype.hasobject:
            return None
        if not (owner.flags.c_contiguous or owner.flags.f_contiguous):
            owner = array = np.ascontiguousarray(array)
        block = self._writer.moved(owner)
        self.blocks.add(block)
        return block.start + arena.offset(array) - arena.offset(owner), array.shape, array.dtype, array.strides


class _WritingUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, writer: ImageWriter) -> None:
        super().__init__(file)
        self._writer = writer

    def persistent_load(self, place: Any) -> Any:
        """Return an array of the arena, or a constant."""
        if isinstance(place, ConstantName):
            return self._writer.kept(place)
        start, shape, dtype, strides = place
        return self._writer.arena.view(start, shape, dtype, strides, writes=True)


class _ReadingUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, reader: ImageReader) -> None:
        super().__init__(file)
        self._reader = reader
        self.constants: set[ConstantName] = set()

    def persistent_load(self, place: Any) -> Any:
        """Return an array of the arena, or a constant."""
        if isinstance(place, ConstantName):
            self.constants.add(place)
            return self._reader.kept(place)
        start, shape, dtype, strides = place
        return self._reader.arena.view(start, shape, dtype, strides, writes=False)
