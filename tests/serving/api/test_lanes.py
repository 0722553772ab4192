from __future__ import annotations

import asyncio
import threading

import pytest

from hsnn.serving.api.lanes import Lane
from hsnn.serving.errors import BusyError, DeadlineError, RequestError
from tests.waiting import DEADLINE


def test_results_and_errors_are_those_of_the_call():
    async def run() -> None:
        lane = Lane("test", waiting=2)
        assert await lane.run(threading.current_thread, DEADLINE) is not threading.current_thread()
        with pytest.raises(RequestError, match="no"):
            await lane.run(_refuse, DEADLINE)
        lane.close()

    asyncio.run(run())


def _refuse() -> None:
    raise RequestError("no")


def test_the_loop_runs_on_and_calls_end_by_their_deadline():
    async def run() -> None:
        lane, release, started = Lane("test", waiting=8), threading.Event(), []
        held = asyncio.create_task(lane.run(lambda: (started.append("held"), release.wait(DEADLINE)), 0.3))
        waiting = asyncio.create_task(lane.run(lambda: started.append("waiting"), 0.3))
        for call in (held, waiting):
            with pytest.raises(DeadlineError, match=r"within 0\.3 s"):
                await call
        release.set()
        await lane.run(lambda: None, DEADLINE)
        assert "waiting" not in started  # what was given up before its turn never runs
        lane.close()

    asyncio.run(run())


def test_calls_beyond_the_bound_are_refused_until_there_is_room():
    async def run() -> None:
        lane, release = Lane("test", waiting=2), threading.Event()
        calls = [asyncio.create_task(lane.run(lambda: release.wait(DEADLINE), DEADLINE)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="2 calls wait"):
            await lane.run(lambda: None, DEADLINE)
        release.set()
        await asyncio.gather(*calls)
        await asyncio.sleep(0.01)
        assert await lane.run(lambda: "room", DEADLINE) == "room"
        lane.close()

    asyncio.run(run())
