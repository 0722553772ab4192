from __future__ import annotations

import numpy as np
import pytest

from hsnn.serving.sharing.arena import Arena
from hsnn.serving.sharing.image import ImageReader, ImageWriter
from hsnn.trainer.config.model import ModelConfig


class Thing:
    def __init__(self, **parts) -> None:
        self.__dict__.update(parts)


@pytest.fixture
def arena():
    return Arena(1 << 24)


def read(arena, image):
    found, _ = ImageReader(arena).read(memoryview(image.data))
    return found


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5000),
        np.arange(6000.0).reshape(2000, 3),
        np.asfortranarray(np.arange(6000.0).reshape(2000, 3)),
        np.arange(6000)[::2],
        np.arange(6000).reshape(2000, 3)[5:, 1:],
        np.zeros(500, [("a", "<i4"), ("b", "u1")]),
        np.arange(3),
        np.array(7.0),
        np.zeros(0, np.int32),
    ],
)
def test_arrays_come_back_as_they_were(arena, array):
    writer = ImageWriter(arena)
    image = writer.write(Thing(array=array))
    for found in (read(arena, image).array, writer.read(image.data).array):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        if array.nbytes >= 1024:
            assert found.strides == array.strides


def test_what_the_writer_changes_is_changed_for_readers_and_stays_where_it_is(arena):
    writer = ImageWriter(arena)
    image = writer.write(Thing(array=np.zeros(1000)))
    kept, used = writer.read(image.data), arena.used
    reader = read(arena, image)
    kept.array[3] = 5
    assert reader.array[3] == 5
    again = writer.write(kept)
    assert (again.blocks, arena.used) == (image.blocks, used)
    assert len(image.data) < 500


def test_what_two_images_share_is_there_once(arena):
    writer, array, config = ImageWriter(arena), np.zeros(10_000), ModelConfig()
    first = writer.write(Thing(array=array, config=config))
    used = arena.used
    second = writer.write(Thing(array=array, config=config, other=1))
    assert (second.blocks, arena.used) == (first.blocks, used)
    reader = ImageReader(arena)
    (one, names), (other, _) = (reader.read(memoryview(image.data)) for image in (first, second))
    assert one.config is other.config
    assert one.config == config
    reader.forget(frozenset())
    assert reader.kept(next(iter(names))) is not one.config


def test_constants_are_forgotten_with_the_images_that_hold_them(arena):
    writer, config = ImageWriter(arena), ModelConfig()
    image = writer.write(Thing(config=config))
    writer.forget_originals(image.blocks)
    kept = writer.read(image.data)
    assert writer.write(kept).blocks == image.blocks
    writer.forget_originals(frozenset())
    assert writer.write(kept).blocks.isdisjoint(image.blocks)
