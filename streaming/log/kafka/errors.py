"""What kafka-python raises, in the words of this project."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kafka.errors

from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError, UnknownTopicError


@contextmanager
def translated(where: str, doing: str) -> Iterator[None]:
    """Turn errors of kafka-python into this project's, saying what was done, where, and what helps."""
    try:
        yield
    except (kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError) as error:
        raise OutOfRangeError(
            f"{doing}: {where} no longer holds the records that come next ({error}); "
            "records were removed before they were read: raise the topic's retention.ms"
        ) from error
    except kafka.errors.UnknownTopicOrPartitionError as error:
        raise UnknownTopicError(f"{doing}: {where} has no such topic or partition ({error})") from error
    except (kafka.errors.KafkaError, OSError, ValueError, AssertionError) as error:
        raise LogUnavailableError(
            f"{doing}: {where} failed ({type(error).__name__}: {error}); check that the brokers run, that "
            "`streaming.log` names them, and its security_protocol, sasl_ and ssl_ options"
        ) from error


def patiently(call: Callable[[], Any], patience: float = 15.0) -> Any:
    """Try again for a while: a cluster that was never asked for group offsets first makes the topic that holds them."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return call()
        except kafka.errors.RetriableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
