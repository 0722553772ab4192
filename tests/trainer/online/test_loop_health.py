"""What the loop says of itself while it cannot write checkpoints, poll or learn."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from hsnn.monitoring.health import Health
from hsnn.streaming.redis.keys import key
from hsnn.trainer.checkpoint import atomic_file
from hsnn.trainer.errors import CheckpointError
from tests.trainer.online.loops import BATCH, EVENTS, bits

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("ends", [False, True])
def test_a_full_disk_costs_checkpoints_and_nothing_else(
    undisturbed, new_loop, monkeypatch, redis_client, tmp_path, ends
):
    """The disk is full from the first checkpoint on; where it does not end, there is room again after 500 events."""
    loop = new_loop("full", snapshot_interval=0.0)
    full, seen, file_write = [True], [], atomic_file.write_new

    def write_new(path: Path, pieces):
        if full and path.name == "manifest.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return file_write(path, pieces)

    monkeypatch.setattr("hsnn.trainer.checkpoint.store.write_new", write_new)

    def stop() -> bool:
        if loop.progress.trained >= 500 and full and not ends:
            seen.append((loop._health.readiness(), [path.name for path in (tmp_path / "full").iterdir()]))
            full.clear()
        return loop.progress.trained >= EVENTS and (ends or not loop._publisher.busy)

    snapshots = redis_client.xlen(key("snapshots"))
    if ends:
        with pytest.raises(CheckpointError, match="is learned again at the next start"):
            loop.run(stop)
        assert redis_client.xlen(key("snapshots")) == snapshots  # only what is durable is published
        assert list((tmp_path / "full").iterdir()) == []
        return
    loop.run(stop)
    (ready, detail), files = seen[0]
    assert not ready
    assert "No space left on device; make room there" in detail["problems"]["checkpoints"]
    assert len(files) <= 1  # at most the one that is being written
    assert loop._health.readiness()[0]
    assert bits(loop) == bits(undisturbed)
    assert new_loop("full").learner.events == EVENTS


def test_a_poll_that_does_not_return_makes_the_trainer_not_live(filled, new_loop):
    """Ten seconds pass in every turn; the main thread goes round, but the one that reads ahead hangs."""
    loop, now, live = new_loop("hangs"), [0.0], []
    loop._health = Health("trainer", clock=lambda: now[0])
    loop._health.expect("poll", within=30)
    loop.consumer.poll_seconds = lambda: max(0.0, now[0] - 50.0)

    def stop() -> bool:
        now[0] += 10.0
        live.append(loop._health.liveness()[0])
        return len(live) == 14

    loop.run(stop)
    assert live[:8] == [True] * 8
    assert live[-1] is False


@pytest.mark.parametrize("broken", [False, True])
def test_a_trainer_that_learns_nothing_of_what_waits_is_not_live(filled, new_loop, broken):
    """Four seconds pass in every turn; what is polled and left out is no progress, an empty log is no stall."""
    loop, now, live = new_loop("watched"), [0.0], []
    loop._health = Health("trainer", clock=lambda: now[0])
    loop._health.expect("learning", within=10, reason="none is learned")
    if broken:
        loop.learner.network.items.content.weight[:] = np.nan

    def stop() -> bool:
        now[0] += 4
        live.append(loop._health.liveness()[0])
        return len(live) > EVENTS // BATCH + 10 or not live[-1]

    loop.run(stop)
    assert live == ([True, True, False] if broken else [True] * len(live))
    if broken:
        assert loop._health.liveness()[1]["learning"]["reason"] == "none is learned"
    else:
        assert loop.consumer.lag() == (0, 0.0)
