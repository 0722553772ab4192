"""``hsnn train``, by a worker that writes down its digest at the end, and dies where a test wants it to.

Environment: TOLD (folder), and for a worker that dies in its first life DIES (``RANK:STEPS``) with CHECKPOINTS (folder,
one must be there).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import hsnn.trainer.online.loop
from hsnn.cli.app import main
from hsnn.monitoring.process.failpoints import set_failpoint_hook
from hsnn.trainer.checkpoint.digest import digest
from hsnn.trainer.online.follower_worker import FollowerWorker

RANK = os.environ.get("RANK", "")


def telling(run: Any) -> Any:
    def told(self: Any, stop: Any) -> None:
        run(self, stop)
        arrays, values = self.learner.state_dict()
        others = {"learner": values, "progress": self.progress.state_dict(), "drift": self._drift.state_dict()}
        Path(os.environ["TOLD"], RANK).write_text(digest(arrays, others))

    return told


class Dying:
    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, phase: str) -> None:
        self.left -= phase == "step"
        if self.left <= 0 and any(Path(os.environ["CHECKPOINTS"]).glob("checkpoint-*")):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    hsnn.trainer.online.loop.OnlineLoop.run = telling(hsnn.trainer.online.loop.OnlineLoop.run)  # type: ignore[method-assign]
    FollowerWorker.run = telling(FollowerWorker.run)  # type: ignore[method-assign]
    rank, _, steps = os.environ.get("DIES", "-1:0").partition(":")
    if rank == RANK and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        set_failpoint_hook(Dying(int(steps)))
    main()
