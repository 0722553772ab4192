"""Append commands to the control topic."""

from __future__ import annotations

import msgspec

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.base import EventLog, ProducerRecord
from hsnn.streaming.log.open import open_log
from hsnn.streaming.schema.commands import Command


class CommandSender:
    """Sends commands to the control topic; opens the log for each command, since they are rare.

    Parameters
    ----------
    config
        Names log and topic.
    """

    def __init__(self, config: StreamingConfig) -> None:
        self._config = config

    def __call__(self, command: Command) -> None:
        """Append a command durably to every partition, because each rank of the trainer reads its own partitions.

        Raises
        ------
        LogUnavailableError, AppendError
            The log cannot be reached, or refuses the record.
        """
        log = open_log(self._config.log)
        try:
            send_command(log, self._config, command)
        finally:
            log.close()


def send_command(log: EventLog, config: StreamingConfig, command: Command) -> None:
    """Append a command to every partition of the control topic of an open log, and flush."""
    log.create_topic(config.control_topic, config.partitions)
    value = msgspec.json.encode(command)
    partitions = log.partitions(config.control_topic)
    log.append(config.control_topic, [ProducerRecord(None, value, partition=partition) for partition in partitions])
    log.flush()
