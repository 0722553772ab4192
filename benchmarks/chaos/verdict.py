"""What is left after the last disruption: every event accounted for, every end obeyed, the index clean."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.chaos.catalogue import items_of
from benchmarks.chaos.disruptions.base import Scene
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.redis.client import Redis
from hsnn.streaming.redis.keys import key

# seconds until the last event is learned, and until the last item's end is obeyed
_SETTLE_SECONDS = 180.0
# seconds between two looks at a system that comes to rest
_LOOK_SECONDS = 0.5
_TOPIC = StreamingConfig().engagements_topic


@dataclass(frozen=True)
class Account:
    """Where every engagement in the log is."""

    in_log: int
    acknowledged: int
    trained: int
    dead_lettered: int
    dropped: Mapping[str, int]
    pending: int

    @property
    def accounted(self) -> int:
        """Engagements whose fate is known."""
        return self.trained + self.dead_lettered + sum(self.dropped.values()) + self.pending

    @property
    def is_complete(self) -> bool:
        """Whether the trainer has read all."""
        return self.accounted >= self.in_log and not self.pending

    def faults(self) -> list[str]:
        """Say what was lost.

        Examples
        --------
        >>> Account(10, 9, trained=8, dead_lettered=1, dropped={"duplicate": 1}, pending=0).faults()
        []
        >>> Account(10, 11, trained=9, dead_lettered=0, dropped={}, pending=0).faults()
        ['10 events are in the log, 11 were acknowledged', '10 events are in the log, 9 are accounted for']
        """
        found = []
        if self.in_log < self.acknowledged:
            found.append(f"{self.in_log} events are in the log, {self.acknowledged} were acknowledged")
        if self.in_log != self.accounted:
            found.append(f"{self.in_log} events are in the log, {self.accounted} are accounted for")
        return found


def judge(scene: Scene, late: float) -> tuple[dict[str, Any], list[str]]:
    """Wait until everything has settled; return figures, and faults in words.

    Parameters
    ----------
    late
        Seconds by which a returned item's end had passed, at most.
    """
    client, account = scene.loop.admin(), _settled(scene)
    faults = account.faults()
    wanted, found = _catalogue(scene, client)
    if wanted != found:
        faults.append(f"the index lacks {_some(wanted - found)} and holds {_some(found - wanted)} that it must not")
    for command in (("index", "verify"), ("checkpoint", "verify")):
        done = scene.loop.run(*command)
        if done.returncode:
            faults.append(f"`hsnn {' '.join(command)}`: {(done.stdout + done.stderr)[-600:].strip()}")
    ended = {name: role.ends for name, role in scene.loop.roles.items()}
    if 3 in ended["trainer"]:
        faults.append("the trainer ended with status 3")
    client.close()
    figures = {
        "account": asdict(account),
        "items_announced": len(scene.traffic.ends),
        "items_in_index": len(found),
        "late_ends_seconds": round(late, 1),
        "exit_statuses": {
            name: {str(code): codes.count(code) for code in sorted(set(codes))} for name, codes in ended.items()
        },
    }
    return figures, faults


def read_account(scene: Scene, client: Redis) -> Account:
    """Return where every engagement is now, by the log's positions and the trainer's progress."""
    log = scene.loop.open_log()
    try:
        ends = log.end_positions([(_TOPIC, number) for number in log.partitions(_TOPIC)])
    finally:
        log.close()
    raw: Any = client.hgetall(key("progress"))
    names = ("trained", "impressions", "dead_lettered", "dropped", "pending")
    trained, impressions, dead, dropped, pending = (json.loads(raw.get(name.encode(), b"0")) for name in names)
    return Account(
        in_log=sum(ends.values()),
        acknowledged=scene.traffic.acknowledged,
        trained=trained + impressions,
        dead_lettered=dead,
        dropped=dropped or {},
        pending=pending,
    )


def _settled(scene: Scene) -> Account:
    client, deadline = scene.loop.admin(), time.monotonic() + _SETTLE_SECONDS
    while not (found := read_account(scene, client)).is_complete and time.monotonic() < deadline:
        scene.loop.view()
        time.sleep(_LOOK_SECONDS)
    client.close()
    return found


def _catalogue(scene: Scene, client: Redis) -> tuple[set[str], set[str]]:
    """Return what must be in the index at last, and what is: no event comes any more, and ends must be obeyed."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        wanted, found = scene.traffic.alive(time.time_ns() // 1_000_000), items_of(client) or set()
        if wanted == found or time.monotonic() > deadline:
            return wanted, found
        scene.loop.view()
        time.sleep(_LOOK_SECONDS)


def _some(items: set[str]) -> str:
    return f"{len(items)} items ({', '.join(sorted(items)[:5])})" if items else "nothing"
