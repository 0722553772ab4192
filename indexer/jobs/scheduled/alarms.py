"""Job `alarms`: carry out the actions of new alarms, and measure what came of earlier ones."""

from hsnn.indexer.jobs.action_policy import ActionPolicy
from hsnn.indexer.jobs.alarm_actions import AlarmActions
from hsnn.indexer.jobs.alarm_handler import AlarmHandler
from hsnn.indexer.jobs.runner import Work
from hsnn.indexer.jobs.scheduled_job import JobServices, ScheduledJob
from hsnn.monitoring.notify import Notifier


def _create(services: JobServices) -> Work:
    limits, leader = services.monitoring.actions, services.leader
    return AlarmHandler(
        leader.store,
        services.rules,
        services.audit,
        services.index_jobs.refresh_for,
        actions=AlarmActions(leader, services.config, limits, services.send).by_name(),
        policy=ActionPolicy(leader.store, limits, services.audit),
        notify=Notifier(services.monitoring.notify),
        own=leader.own_alarms,
    ).handle_all


JOB = ScheduledJob(create=_create, every=lambda config: config.alarm_sweep, stream="alarms")
