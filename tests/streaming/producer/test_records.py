"""Arrow and JSON records hold the same events in the same order per partition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.consumer.consumer import Consumer
from hsnn.streaming.log.memory import MemoryLog
from hsnn.streaming.producer.records import to_arrow_records, to_json_records
from hsnn.streaming.schema.columns import is_arrow
from hsnn.streaming.schema.events import Event, Impression, Interaction

CONFIG = StreamingConfig(log="memory", batch_size=8, max_wait=0.0, partitions=3, tasks=("click",))
START = 893_286_638_000

users = st.sampled_from(["u0", "u1", "u2", "7"])
events = st.lists(
    st.tuples(users, st.booleans(), st.sampled_from([None, 0.5]), st.sampled_from([None, {"page": "a"}])), max_size=40
)


def made(drawn) -> list[tuple[bytes, Event]]:
    found: list[tuple[bytes, Event]] = []
    for at, (user, shown, value, context) in enumerate(drawn):
        if shown:
            event: Event = Impression(ts=START + at, id=f"p{at}", user=user, items=["a", 3])
        else:
            event = Interaction(
                ts=START + at,
                id=at,
                user=user,
                item="a",
                action="click",
                value=value,
                context=context,
                impression=f"p{at - 1}",
            )
        found.append((user.encode(), event))
    return found


def consumed(records) -> list[tuple[object, ...]]:
    log = MemoryLog()
    log.create_topic("engagements", 3)
    log.append("engagements", records)
    consumer, found = Consumer(log, CONFIG), []
    while (batch := consumer.next_batch(0.0)) is not None:
        of = batch.engagements
        found.append((of.ts.tolist(), of.user, of.item, of.action, str(of.value), of.context, batch.seen_items))
    return found


@pytest.mark.slow
@given(events)
def test_consumer_reads_the_same_from_both(drawn):
    assert consumed(to_arrow_records(made(drawn), 5, 3)) == consumed(to_json_records(made(drawn), 5))


def test_consecutive_interactions_share_a_record():
    drawn = [("u0", False, None, None)] * 30
    (record,) = to_arrow_records(made(drawn), 5, 3)
    assert is_arrow(record.value or b"")
    assert record.sent_at == 5
