"""Translation of kafka-python's errors into the errors of `hsnn.streaming.errors`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import kafka.errors

from hsnn.streaming.errors import LogUnavailableError, OutOfRangeError, UnknownTopicError


@contextmanager
def translate_errors(where: str, operation: str) -> Iterator[None]:
    """Turn errors of kafka-python into this project's; the text names the operation, the server and a remedy."""
    try:
        yield
    except (kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError) as error:
        raise OutOfRangeError(
            f"{operation}: {where} no longer holds the records that come next ({error}); "
            "records were removed before they were read: raise the topic's retention.ms"
        ) from error
    except kafka.errors.UnknownTopicOrPartitionError as error:
        raise UnknownTopicError(f"{operation}: {where} has no such topic or partition ({error})") from error
    except (kafka.errors.KafkaError, OSError, ValueError, AssertionError) as error:
        raise LogUnavailableError(
            f"{operation}: {where} failed ({type(error).__name__}: {error}); check that the brokers run, that "
            "`streaming.log` names them, and its security_protocol, sasl_ and ssl_ options"
        ) from error
