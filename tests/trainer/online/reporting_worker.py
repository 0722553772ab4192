"""``hsnn train`` as a worker that writes its digest at the end, and is killed at a given step of its first life.

Environment: DIGESTS (folder to write to), and for a worker that is killed KILL_AT (``RANK:STEPS``) with CHECKPOINTS
(folder in which one must exist).
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


def with_digest(run: Any) -> Any:
    def run_and_report(self: Any, stop: Any) -> None:
        run(self, stop)
        arrays, values = self.learner.state_dict()
        others = {"learner": values, "progress": self.progress.state_dict(), "drift": self._drift.state_dict()}
        Path(os.environ["DIGESTS"], RANK).write_text(digest(arrays, others))

    return run_and_report


class KillAtStep:
    def __init__(self, steps: int) -> None:
        self.steps_left = steps

    def __call__(self, phase: str) -> None:
        self.steps_left -= phase == "step"
        if self.steps_left <= 0 and any(Path(os.environ["CHECKPOINTS"]).glob("checkpoint-*")):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    hsnn.trainer.online.loop.OnlineLoop.run = with_digest(hsnn.trainer.online.loop.OnlineLoop.run)  # type: ignore[method-assign]
    FollowerWorker.run = with_digest(FollowerWorker.run)  # type: ignore[method-assign]
    rank, _, steps = os.environ.get("KILL_AT", "-1:0").partition(":")
    if rank == RANK and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        set_failpoint_hook(KillAtStep(int(steps)))
    main()
