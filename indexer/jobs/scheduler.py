"""Scheduler: the process that keeps the index; one leads at a time, the others stand by."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from threading import Event

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.assign.assigner import MakeEncoder, snapshot_encoder
from hsnn.indexer.assign.capacity import PlacementRules
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.build.version_gate import VersionGate
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.errors import FencedError, VersionChangedError
from hsnn.indexer.jobs.control import ControlRequestHandler
from hsnn.indexer.jobs.history import JOBS_PACKAGE, REQUESTS, JobHistory, paused_jobs
from hsnn.indexer.jobs.index_jobs import IndexJobs
from hsnn.indexer.jobs.rebalance import SendCommand
from hsnn.indexer.jobs.runner import JobRunner
from hsnn.indexer.jobs.scheduled_job import JobServices, ScheduledJob
from hsnn.indexer.jobs.stream_follower import StreamFollower
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.alarms import AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.discovery import load_modules
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import start_http
from hsnn.monitoring.metrics import CLOCK_AHEAD
from hsnn.monitoring.process.gil import shorten_switch_interval
from hsnn.monitoring.process.signals import stop_on_signals
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.producer.commands import CommandSender
from hsnn.streaming.redis.client import Redis, connect, identity
from hsnn.streaming.redis.clock import ClockWatch
from hsnn.streaming.redis.keys import key
from hsnn.streaming.redis.lease_keeper import LeaseKeeper
from hsnn.streaming.retry import LoopBackoff
from hsnn.trainer.threads import use_threads

_log = logging.getLogger(__name__)

# Heartbeats besides those of the jobs; a standby gives them, too.
_LOOPS = ("lease", "follower")

# Share of the lease's time to live after which a standby tries to acquire it again.
_STANDBY_SHARE = 1 / 3

# Seconds between two checks of a leader whether it is to stop and whether a run is over its time.
_CHECK_SECONDS = 0.1


class Scheduler:
    """Acquires the lease when it is free, leads while it is valid, and stands by otherwise.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    config, monitoring
        Parts of the configuration.
    health
        Told of progress and readiness.
    make_encoder
        Encoder of a snapshot's model.
    owner
        Name shown in the lease.
    send
        Sends commands to the trainer; None: there is no job `rebalance`.
    """

    def __init__(
        self,
        redis: Redis,
        config: IndexerConfig,
        monitoring: MonitoringConfig,
        health: Health,
        make_encoder: MakeEncoder = snapshot_encoder,
        owner: str | None = None,
        send: SendCommand | None = None,
    ) -> None:
        self._redis = redis
        self._config = config
        self._health = health
        self._make_encoder = make_encoder
        self._send = send
        self._rules, self._monitoring = AlarmRules(monitoring.rules), monitoring
        self._audit = AuditTrail(redis, key("audit"), monitoring.audit_length)
        self._clock = ClockWatch(redis, CLOCK_AHEAD.set)
        self._lease = Lease(redis, config.lease_ttl, owner, config.shards)
        self._stalled_after = monitoring.stalled_after
        for loop in _LOOPS:
            health.expect(loop, within=monitoring.stalled_after)

    def run(self, stop: Event) -> None:
        """Lead or stand by until `stop` is set; the lease is released at the end."""
        backoff = LoopBackoff(stop)
        while not stop.is_set():
            try:
                if self._lease.acquire():
                    self._lead(stop)
                else:
                    self._stand_by(stop)
                backoff.reset()
            except (FencedError, VersionChangedError) as error:
                _log.warning("leadership is lost: %s", error)
            except RedisError as error:
                _log.warning("Redis does not answer (%s); it is tried again", error)
                backoff.pause()

    def _note_renewal(self) -> None:
        self._health.beat("lease")
        self._clock.check()

    def _stand_by(self, stop: Event) -> None:
        self._clock.check()
        for loop in _LOOPS:
            self._health.beat(loop)
        self._health.set_ready("scheduler")
        stop.wait(_STANDBY_SHARE * self._config.lease_ttl)

    def _lead(self, stop: Event) -> None:
        """Lead for one term, which ends when the lease is lost or `stop` is set."""
        _log.info("leads with fencing token %d", self._lease.token)
        lost, server = Event(), identity(self._redis)
        with LeaseKeeper(
            self._lease,
            lost,
            same_server=lambda: identity(self._redis) == server,
            on_renewal=self._note_renewal,
        ):
            metrics.LEADING.set(1)
            try:
                self._work(stop, lost)
            finally:
                metrics.LEADING.set(0)
                metrics.HELD.set(0)  # shown by the leader only

    def _work(self, stop: Event, lost: Event) -> None:
        """Run follower and jobs, from what is in Redis now, until `stop` or `lost` is set."""
        store = IndexStore(self._redis, self._lease, chunk=self._config.write_chunk)
        leader = Leader(
            store,
            Builder(
                store,
                self._make_encoder,
                self._config.encode_chunk,
                PlacementRules.from_config(self._config),
                gate=VersionGate(store.load_version) if self._config.quality_gate else None,
            ),
        )
        leader.resume()
        jobs = IndexJobs(leader, self._config, self._audit)
        declared: dict[str, ScheduledJob] = {name: module.JOB for name, module in load_modules(JOBS_PACKAGE).items()}
        services = JobServices(
            leader,
            jobs,
            config=self._config,
            rules=self._rules,
            audit=self._audit,
            monitoring=self._monitoring,
            send=self._send,
        )
        runner = self._make_runner(declared, services, lost)
        requests = ControlRequestHandler(store, self._audit, runner)
        runner.add_job(REQUESTS, requests.handle_all, self._config.refresh_sweep)
        for name in paused_jobs(store):
            runner.pause(name)
        requests.handle_all()  # before the first run of any job: one may be paused
        streams = {job.stream: name for name, job in declared.items() if job.stream is not None}
        follower = StreamFollower(
            leader,
            streams | {"jobs:requests": REQUESTS},
            trigger=runner.trigger,
            on_lost=lost.set,
            beat=lambda: self._health.beat("follower"),
        )
        follower.start()
        runner.start()
        for name in runner.names:
            self._health.expect(_loop_of(name), within=self._stalled_after, reason="the job does not run, or hangs")
        self._health.set_ready("scheduler")
        try:
            while not (stop.is_set() or lost.is_set()):
                lost.wait(_CHECK_SECONDS)
                runner.check_timeouts()
        finally:
            for name in runner.names:
                self._health.stop_expecting(_loop_of(name))
            follower.stop()
            jobs.stop()
            runner.stop()

    def _make_runner(self, declared: Mapping[str, ScheduledJob], services: JobServices, lost: Event) -> JobRunner:
        """Make the runner with all jobs but the one that handles control requests, which needs the runner."""
        runner = JobRunner(
            lost.set,
            JobHistory(services.leader.store, self._audit),
            self._config.job_timeout,
            self._config.jitter,
            beat=lambda name: self._health.beat(_loop_of(name)),
        )
        for name, job in declared.items():
            if (work := job.create(services)) is not None:
                runner.add_job(name, work, job.every(self._config), job.rest)
        return runner


def _loop_of(job: str) -> str:
    """Name the heartbeat of a job."""
    return f"job {job}"


def run(
    config: IndexerConfig,
    monitoring: MonitoringConfig,
    redis_url: str,
    *,
    streaming: StreamingConfig | None = None,
    stop: Event | None = None,
    listening: Callable[[int], None] | None = None,
) -> None:
    """Run a scheduler in this process until SIGTERM, SIGINT or `stop`.

    Parameters
    ----------
    config, monitoring
        Parts of the configuration; the rules for alarms are in `monitoring`.
    redis_url
        ``redis://...`` of the index, to which the trainer writes, too.
    streaming
        Log to which commands to the trainer are sent; None: none are sent.
    stop
        Ends the run when set. In the main thread the signals set it, too; a second signal ends the process at once.
    listening
        Called with the port of metrics and health.

    Raises
    ------
    PortTakenError
        Metrics and health cannot be served on the configured address.
    """
    use_threads(config.threads)
    shorten_switch_interval()
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it logs every run, and every trigger during a run
    health = Health("scheduler")
    redis = connect(redis_url)
    send = None if streaming is None else CommandSender(streaming)
    scheduler = Scheduler(redis, config, monitoring, health, send=send)
    port = start_http(monitoring.host, monitoring.scheduler_port, health)
    _log.info("metrics and health on http://%s:%d", monitoring.host, port)
    if listening is not None:
        listening(port)
    try:
        with stop_on_signals(stop) as asked:
            scheduler.run(asked)
    finally:
        redis.close()
