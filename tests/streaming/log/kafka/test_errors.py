"""Which errors of Kafka are outages, and which ones no later attempt mends."""

from __future__ import annotations

import kafka.errors
import pytest
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from hsnn.streaming.errors import LogRefusedError, LogUnavailableError, OutOfRangeError, StreamingError
from hsnn.streaming.log.base import ProducerRecord
from hsnn.streaming.log.kafka.errors import connection_hint, translate_errors
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.log.open import open_log
from hsnn.streaming.log.retrying import RetryingLog
from hsnn.streaming.retry import RetryPolicy

CODECS = ("gzip", "snappy", "lz4", "zstd")


def translated(error: Exception, operation: str = "reading the log") -> StreamingError:
    with pytest.raises(StreamingError) as caught, translate_errors("kafka://b:1", operation):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (kafka.errors.UnsupportedCodecError("UnsupportedCodecError: Libraries for lz4 not found"), "codec"),
        (kafka.errors.TopicAuthorizationFailedError("engagements"), "lacks a right"),
        (kafka.errors.GroupAuthorizationFailedError("hsnn"), "lacks a right"),
        (kafka.errors.SaslAuthenticationFailedError("bad password"), "refuse the login"),
        (kafka.errors.UnsupportedSaslMechanismError("PLAIN"), "sasl_mechanism"),
        (kafka.errors.UnsupportedVersionError("fetch"), "too old"),
    ],
)
def test_what_stays_wrong_is_refused_and_not_tried_again(error, says):
    assert isinstance(translated(error), LogRefusedError)
    assert says in str(translated(error))
    calls = []

    class Refusing(MemoryLog):
        def poll(self, *_args, **_options):
            calls.append(1)
            raise translated(error)

    policy = RetryPolicy(60.0)
    policy.start()
    with pytest.raises(LogRefusedError):
        RetryingLog(Refusing(), policy).poll(1, 0.0)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "error",
    [
        kafka.errors.KafkaConnectionError("refused"),
        kafka.errors.KafkaTimeoutError("slow"),
        kafka.errors.NotLeaderForPartitionError("moved"),
        kafka.errors.CorruptRecordError("crc"),
        ConnectionResetError("reset"),
        ValueError("a socket was closed meanwhile"),
    ],
)
def test_outages_are_tried_again(error):
    assert isinstance(translated(error), LogUnavailableError)


def test_options_that_cannot_be_are_named():
    error = translated(ValueError("sasl_mechanism must be one of ..."), "connecting")
    assert isinstance(error, LogRefusedError)
    assert "an option of `streaming.log` is wrong" in str(error)


def test_the_name_of_an_error_is_said_once():
    said = r"failed \(KafkaTimeoutError: no broker\); check"
    with pytest.raises(LogUnavailableError, match=said), translate_errors("kafka://b", "reading"):
        raise kafka.errors.KafkaTimeoutError("no broker")


def test_lost_records_are_neither():
    assert isinstance(translated(kafka.errors.OffsetOutOfRangeError("1")), OutOfRangeError)


@pytest.mark.parametrize(
    "logged", ["SaslAuthenticationFailedError: bad", "Connection failed: SaslAuthenticationFailed"]
)
def test_a_wrong_password_is_named(logged):
    assert "refuse the login" in connection_hint(logged)


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read_here(codec):
    number = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}[codec]
    builder = MemoryRecordsBuilder(magic=2, compression_type=number, batch_size=1 << 20)
    for value in range(100):
        builder.append(timestamp=value, key=b"u", value=b"%d" % value * 50)
    builder.close()
    records = MemoryRecords(bytes(builder.buffer()))
    assert [record.value for record in records.next_batch()] == [b"%d" % value * 50 for value in range(100)]


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read_from_a_broker(kafka_url, codec):
    log = open_log(f"{kafka_url}?compression_type={codec}")
    topic = f"packed-{codec}"
    log.create_topic(topic, 1)
    log.append(topic, [ProducerRecord(b"u", b"%d" % value * 50) for value in range(100)])
    log.flush()
    log.seek({(topic, 0): 0})
    values: list[bytes | None] = []
    while len(values) < 100:
        values += [value for batch in log.poll(1000, 1.0) for value in batch.values]
    assert values == [b"%d" % value * 50 for value in range(100)]
    log.close()
