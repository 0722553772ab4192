"""How a file declares a job: what it does, how often, and on which streams it waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.jobs.rebalance import SendCommand
from hsnn.indexer.jobs.runner import Work
from hsnn.monitoring.alarms import AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import MonitoringConfig


@dataclass(frozen=True, slots=True)
class JobServices:
    """What a job may be made from; it lasts for one leadership term.

    Attributes
    ----------
    leader
        The index and its store, whose scripts check the fencing token.
    index_jobs
        Steps that several jobs share.
    config
    rules
        Actions by kind of alarm.
    audit
    monitoring
        Limits of actions, and who is notified.
    send
        Sends commands to the trainer; None: it cannot be reached.
    """

    leader: Leader
    index_jobs: IndexJobs
    config: IndexerConfig
    rules: AlarmRules
    audit: AuditTrail
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
    send: SendCommand | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """Declaration of a job. A module of `hsnn.indexer.jobs.scheduled` has one as `JOB`; the job is named after it.

    Attributes
    ----------
    create
        Makes the function that is run; None where the job cannot be done. It may run at any time and any number of
        times, finds out by itself what is to be done, and calls `hsnn.indexer.job_context.check_deadline` between
        its steps.
    every
        Seconds between two runs.
    rest
        After a run the job rests for at least this many times as long as the run took.
    stream
        Stream of which a new entry triggers the job; None: no stream does.
    """

    create: Callable[[JobServices], Work | None]
    every: Callable[[IndexerConfig], float]
    rest: float = 0.0
    stream: str | None = None
