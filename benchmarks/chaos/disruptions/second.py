"""A second trainer, scheduler or server that somebody starts by mistake, and stops again."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from random import Random

from benchmarks.chaos.disruptions.base import Disruption, Scene, Variant
from benchmarks.chaos.loop import SCHEDULERS
from benchmarks.chaos.processes import TAKEN
from benchmarks.chaos.watch import Sign, View, is_zero, says
from hsnn.embedded.process import free_port

# what the second one says, and its exit status
_WAITS, _SAME_FOLDER, _PORT = "another trainer may be alive", "is in use by the trainer", "in use"


class SecondTrainer(Disruption):
    """It is refused and ends with status 3; the first one goes on."""

    def __init__(self, same_folder: bool, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        loop, other = scene.loop, {"trainer.checkpoint_dir": str(scene.loop.folder / "other")}
        self._guest = loop.role("trainer_by_mistake", "train", free_port(), {} if same_folder else other)
        self._before = len(loop.roles["trainer"].ends)

    def signs(self) -> Sequence[Sign]:
        return says(self._guest.log, _SAME_FOLDER), says(self._guest.log, _WAITS)

    def strike(self) -> None:
        self._guest.start()

    def is_over(self, now: View) -> str:
        del now
        if self._guest.running:
            return "the second trainer has not ended"
        if self._guest.code != TAKEN:
            return f"the second trainer ended with status {self._guest.code}"
        return "" if len(self.scene.loop.roles["trainer"].ends) == self._before else "the first trainer ended"


class Second(Disruption):
    """A second server, or a third scheduler: it does what it can, and nobody minds."""

    def __init__(self, command: str, same_port: bool, kind: str, scene: Scene, random: Random) -> None:
        super().__init__(kind, scene, random)
        loop, like = scene.loop, {"schedule": SCHEDULERS[0], "serve": "server_1"}[command]
        self._taken = same_port
        port = loop.roles[like].port if same_port else free_port()
        self._guest = loop.role(f"{command}_by_mistake", command, port)
        self._command = command

    def signs(self) -> Sequence[Sign]:
        if self._taken:
            return (says(self._guest.log, _PORT),)
        name = self._guest.name
        if self._command == "schedule":
            return (is_zero(name, "hsnn_scheduler_leading"),)
        return (Sign("its own `/healthz/ready`", lambda _, now: now.ready(name)),)

    def strike(self) -> None:
        self._guest.start()
        if not self._taken:
            self.scene.loop.guests.append(self._guest)

    def end(self) -> None:
        self._guest.send_signal(signal.SIGTERM)
        self._guest.stop()
        if not self._taken:
            self.scene.loop.guests.remove(self._guest)


def variants(_: Scene) -> list[Variant]:
    """List each of them, with something shared and without."""
    found = [
        ("second trainer, own folder", partial(SecondTrainer, False)),
        ("second trainer, same folder", partial(SecondTrainer, True)),
        ("further scheduler", partial(Second, "schedule", False)),
        ("further server", partial(Second, "serve", False)),
        ("second scheduler on the same port", partial(Second, "schedule", True)),
        ("second server on the same port", partial(Second, "serve", True)),
    ]
    return [(kind, partial(make, kind)) for kind, make in found]
