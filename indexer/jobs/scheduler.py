"""The scheduler's process: one leads at a time, the others stand by."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Thread

from redis.exceptions import RedisError

from hsnn.indexer import metrics
from hsnn.indexer.assign.assigner import MakeEncoder, snapshot_encoder
from hsnn.indexer.assign.capacity import Placing
from hsnn.indexer.build.builder import Builder
from hsnn.indexer.build.leader import Leader
from hsnn.indexer.config import IndexerConfig
from hsnn.indexer.errors import FencedError, MovedError
from hsnn.indexer.jobs.alarm_handler import AlarmAnswers
from hsnn.indexer.jobs.control import NAME as REQUESTS
from hsnn.indexer.jobs.control import Requests
from hsnn.indexer.jobs.history import Journal, paused_jobs
from hsnn.indexer.jobs.index_jobs import Jobs
from hsnn.indexer.jobs.rebalance import Commands, Rebalancer
from hsnn.indexer.jobs.runner import Workshop
from hsnn.indexer.jobs.stream_follower import Follower
from hsnn.indexer.store.lease import Lease
from hsnn.indexer.store.writer import IndexStore
from hsnn.monitoring.alarms import AlarmRules
from hsnn.monitoring.audit import AuditTrail
from hsnn.monitoring.config import MonitoringConfig
from hsnn.monitoring.health import Health
from hsnn.monitoring.http import start_http
from hsnn.monitoring.process.gil import shorten_switch_interval
from hsnn.monitoring.process.signals import stop_on_signals
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.producer.commands import CommandSender
from hsnn.streaming.redis.client import Redis, connect, identity
from hsnn.streaming.redis.keys import key
from hsnn.trainer.threads import use_threads

_log = logging.getLogger(__name__)
_LOOPS = ("lease", "follower")
_VERIFY_REST = 19.0  # a twentieth of the time: a look at a million items takes it from whoever waits for arrivals


class Scheduler:
    """Takes the lease when it is free, leads while it holds, and stands by otherwise.

    Parameters
    ----------
    redis
        A client whose values are bytes.
    config, monitoring
        The parts of the configuration that matter here.
    health
        Told of progress and readiness.
    make_encoder
        Encoder of a snapshot's model.
    owner
        Name shown in the lease.
    send
        Takes commands to the trainer; None: the job `rebalance` is not there.
    """

    def __init__(
        self,
        redis: Redis,
        config: IndexerConfig,
        monitoring: MonitoringConfig,
        health: Health,
        make_encoder: MakeEncoder = snapshot_encoder,
        owner: str | None = None,
        send: Commands | None = None,
    ) -> None:
        self._redis = redis
        self._config = config
        self._health = health
        self._make_encoder = make_encoder
        self._send = send
        self._rules = AlarmRules(monitoring.rules)
        self._audit = AuditTrail(redis, key("audit"), monitoring.audit_length)
        self._lease = Lease(redis, config.lease_ttl, owner, config.shards)
        self._lost = Event()
        for loop in _LOOPS:
            health.expect(loop, within=monitoring.stalled_after)

    def run(self, stop: Event) -> None:
        """Lead or stand by until `stop` is set; the lease is given back at the end."""
        while not stop.is_set():
            try:
                if self._lease.take():
                    self._lead(stop)
                else:
                    self._stand_by(stop)
            except (FencedError, MovedError) as error:
                _log.warning("the lead is lost: %s", error)
            except RedisError as error:
                _log.warning("Redis does not answer (%s); it is tried again", error)
                stop.wait(1.0)

    def _stand_by(self, stop: Event) -> None:
        for loop in _LOOPS:
            self._health.beat(loop)
        self._health.set_ready("scheduler")
        stop.wait(self._config.lease_ttl / 3)

    def _lead(self, stop: Event) -> None:
        """One time in office, from a fresh look at what is there until the lease is lost or `stop` is set."""
        _log.info("leads with fencing token %d", self._lease.token)
        self._lost.clear()
        keeper = Thread(target=self._keep, args=(identity(self._redis),), name="lease", daemon=True)
        keeper.start()
        metrics.LEADING.set(1)
        try:
            self._work(stop)
        finally:
            self._lost.set()
            keeper.join()
            metrics.LEADING.set(0)
            metrics.HELD.set(0)  # the leader says
            self._lease.release()

    def _work(self, stop: Event) -> None:
        store = IndexStore(self._redis, self._lease, chunk=self._config.write_chunk)
        leader = Leader(store, Builder(store, self._make_encoder, self._config.encode_chunk, Placing.of(self._config)))
        leader.resume()
        jobs = Jobs(leader, self._config, self._audit)
        workshop = self._workshop(jobs, leader)
        requests = Requests(store, self._audit, workshop)
        workshop.add(REQUESTS, requests.carry_out, self._config.refresh_sweep)
        for name in paused_jobs(store):
            workshop.pause(name)
        requests.carry_out()  # before the first run of any job
        follower = Follower(leader, workshop.wake, self._lost.set, lambda: self._health.beat("follower"))
        follower.start()
        workshop.start()
        self._health.set_ready("scheduler")
        try:
            while not (stop.is_set() or self._lost.is_set()):
                self._lost.wait(0.1)
                workshop.watch()
        finally:
            follower.end()
            jobs.stop()
            workshop.stop()

    def _workshop(self, jobs: Jobs, leader: Leader) -> Workshop:
        store = leader.store
        journal = Journal(store, self._audit)
        workshop = Workshop(self._lost.set, journal, self._config.job_timeout, self._config.jitter)
        answers = AlarmAnswers(store, self._rules, self._audit, jobs.refresh_for)
        workshop.add("refresh", jobs.refresh, self._config.refresh_sweep)
        workshop.add("alarms", answers.answer_all, self._config.alarm_sweep)
        workshop.add("settle", jobs.settle, self._config.item_sweep)
        workshop.add("sweep", jobs.sweep, self._config.sweep_interval)
        if self._send is not None:
            rebalancer = Rebalancer(leader, self._config, self._audit, self._send)
            workshop.add("rebalance", rebalancer.look, self._config.rebalance_interval)
        workshop.add("clean", jobs.clean, self._config.retention_interval)
        workshop.add("verify", jobs.verify, self._config.verify_interval, _VERIFY_REST)
        return workshop

    def _keep(self, server: str) -> None:
        """Renew the lease until it is lost; an unreachable server is asked again as long as the lease may hold.

        A server that is another process than `server` may have lost what this leader wrote last: the lead is given up,
        and the next leader, perhaps this one, begins with what is there.
        """
        while not self._lost.wait(self._config.lease_ttl / 5):
            try:
                if not self._lease.renew():
                    _log.warning("the lease is lost to another scheduler")
                    self._lost.set()
                elif identity(self._redis) != server:
                    _log.warning("Redis was restarted; what it still holds is looked at afresh")
                    self._lost.set()
                self._health.beat("lease")
            except RedisError as error:
                _log.warning("the lease cannot be renewed (%s)", error)
                if not self._lease.held:
                    self._lost.set()


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
        ``redis://...`` of the index, where the trainer writes, too.
    streaming
        Where commands to the trainer go; None: there are none.
    stop
        Ends the run when set. In the main thread the signals set it as well; a second signal ends the process at once.
    listening
        Told the port of metrics and health.

    Raises
    ------
    PortTakenError
        Metrics and health cannot be served on the configured address.
    """
    use_threads(config.threads)
    shorten_switch_interval()
    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # its news are every run, and every call during a run
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
