"""Job `alarms`: carry out the actions of new alarms."""

from hsnn.indexer.jobs.alarm_handler import AlarmHandler
from hsnn.indexer.jobs.runner import Work
from hsnn.indexer.jobs.scheduled_job import JobServices, ScheduledJob


def _create(services: JobServices) -> Work:
    refresh = services.index_jobs.refresh_for
    return AlarmHandler(services.leader.store, services.rules, services.audit, refresh).handle_all


JOB = ScheduledJob(create=_create, every=lambda config: config.alarm_sweep, stream="alarms")
