from __future__ import annotations

import faulthandler
import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.sharing.arena import Arena, Span


@given(st.lists(st.one_of(st.integers(1, 5000), st.just(0)), max_size=60))
def test_spans_do_not_overlap_and_all_of_them_come_back(steps):
    arena = Arena(1 << 20)
    held: dict[Span, int] = {}
    for number, size in enumerate(steps):
        if size:
            span = arena.allocate(size)
            view = arena.view(span.start, (size,), np.uint8, (1,), writes=True)
            view[:] = number
            held[span] = number
            assert arena.block_of(view) == span
        elif held:
            arena.free(next(iter(held)))
            del held[next(iter(held))]
        for span, filled in held.items():
            assert arena.view(span.start, (1,), np.uint8, (1,), writes=False)[0] == filled
    for span in held:
        arena.free(span)
    assert arena.used == 0
    assert arena.allocate(arena.size).start == 0


def test_another_writer_keeps_what_is_read_and_takes_the_rest():
    arena = Arena(1 << 20)
    first, kept, last = (arena.write(bytes([n]) * 70_000) for n in (1, 2, 3))
    arena.reset([kept])
    assert arena.read(kept.start, 3) == b"\2\2\2"
    assert [arena.allocate(first.size), arena.allocate(last.size)] == [first, last]


def test_one_that_is_full_says_so():
    arena = Arena(1 << 20)
    arena.allocate(1 << 19)
    with pytest.raises(MemoryError, match="outgrows"):
        arena.allocate(1 << 20)


def test_forks_see_what_is_written_and_end_if_they_write_to_what_they_may_only_read():
    arena = Arena(1 << 20)
    span = arena.write(bytes(64))
    pid = os.fork()
    if not pid:
        faulthandler.disable()
        arena.view(span.start, (8,), np.int64, (8,), writes=True)[0] = 7
        arena.view(span.start, (8,), np.int64, (8,), writes=False)[1] = 8
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGSEGV
    assert arena.view(span.start, (2,), np.int64, (8,), writes=False).tolist() == [7, 0]
