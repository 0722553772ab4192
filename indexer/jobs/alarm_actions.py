"""What an alarm may cause besides a refresh: commands to the trainer, a hold, a rollback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.errors import RollbackError
from hsnn.indexer.jobs.rebalance import BalanceBounds, SendCommand, find_unbalanced, make_command
from hsnn.indexer.store.publish_hold import new_hold, place_hold
from hsnn.monitoring.alarms import Alarm
from hsnn.monitoring.config import Action, ActionsConfig
from hsnn.streaming.schema.commands import BoostRates


class ActionResult(NamedTuple):
    """What came of an action: an outcome for the audit trail, the version that results, further facts."""

    outcome: str
    version: int | None = None
    detail: dict[str, Any] = {}  # noqa: RUF012 - never changed


CarryOut = Callable[[Alarm], ActionResult]
"""Carries out an action; what cannot be done is an outcome ``failed``."""


class AlarmActions:
    """Carries out actions for the leader.

    Parameters
    ----------
    leader, config, limits
    send
        Sends commands to the trainer; None: it cannot be reached.
    """

    def __init__(self, leader: Leader, config: IndexerConfig, limits: ActionsConfig, send: SendCommand | None) -> None:
        self._leader, self._config, self._limits, self._send = leader, config, limits, send

    def by_name(self) -> Mapping[Action, CarryOut]:
        """Return the actions."""
        return {"rebalance": self._rebalance, "rates": self._rates, "hold": self._hold, "rollback": self._rollback}

    def _rebalance(self, alarm: Alarm) -> ActionResult:  # noqa: ARG002 - of the contract
        version_sizes = self._leader.node_sizes()
        if version_sizes is None:
            return ActionResult("failed", None, {"error": "there is no version yet"})
        number, sizes = version_sizes
        # Half of the bound that the job `rebalance` waits for: an alarm is a reason to look closer.
        bounds = BalanceBounds.from_config(self._config)
        nodes = find_unbalanced(sizes, bounds._replace(over_mean=max(bounds.over_mean / 2, 1.5)))
        if not any(nodes):
            return ActionResult("failed", number, {"error": "every node is within its bounds"})
        command = make_command(
            self._leader.store.manifest(number), nodes, self._leader.watermark, max(bounds.over_mean / 2, 1.5)
        )
        return self._sent(command, split=list(nodes.split), merge=list(nodes.merge))

    def _rates(self, alarm: Alarm) -> ActionResult:  # noqa: ARG002 - of the contract
        begin = max(self._leader.watermark, 0)
        command = BoostRates(begin, self._limits.rate_factor, begin + round(1000 * self._limits.rate_for))
        return self._sent(command, factor=command.factor, until=command.until)

    def _sent(self, command: Any, **detail: Any) -> ActionResult:
        if self._send is None:
            return ActionResult("failed", None, {"error": "commands cannot be sent: the scheduler has no log"})
        self._send(command)
        return ActionResult("done", None, detail)

    def _hold(self, alarm: Alarm) -> ActionResult:
        place_hold(self._leader.store, new_hold(f"alarm {alarm.id}: {alarm.detail}"))
        return ActionResult("done", self._leader.store.current(), {"release": "hsnn index release"})

    def _rollback(self, alarm: Alarm) -> ActionResult:
        try:
            version = self._leader.roll_back(f"alarm {alarm.id}: {alarm.detail}")
        except RollbackError as error:
            return ActionResult("failed", None, {"error": str(error)})
        return ActionResult("done", version, {"release": "hsnn index release"})
