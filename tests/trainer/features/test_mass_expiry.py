"""Mass expiry is held in the trainer, scheduler and server; announced ends are obeyed where the stream is quiet."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsnn.indexer.assign.catalogue import ItemCatalogue
from hsnn.streaming.schema.commands import Expire
from hsnn.streaming.schema.events import Item
from hsnn.trainer.config.catalogue import CatalogueConfig
from hsnn.trainer.features.mass_expiry import FEWEST, Arrival, DepartureClock, QuietClock, QuietEnds
from hsnn.trainer.messages import StateDelta
from hsnn.trainer.online.expiry_alarm import ExpiryAlarm
from hsnn.trainer.publish.snapshot import SnapshotOrigin, make_snapshot
from hsnn.trainer.training.learner import Learner

HOUR = 3_600_000
DAY = 24 * HOUR
COUNT = 30


@pytest.fixture
def config(config):
    """The default share, which the other tests of the trainer switch off."""
    return config.model_copy(update={"catalogue": CatalogueConfig()})


def announced(world, end: int, count: int = COUNT):
    """A batch with `count` items that end at `end`, and one click."""
    items = [Item(id=f"i{number}", ts=world.now, features={}, expires_at=end) for number in range(count)]
    return world.clicks(["u"], ["i0"], items=items)


def alive_in_all(learner: Learner) -> set[int]:
    """Numbers of living items in the trainer, and in a scheduler that follows it; both have to be the same."""
    catalogue = ItemCatalogue(make_snapshot(learner, SnapshotOrigin(1, 1)))
    trainer = int(np.count_nonzero(learner.alive(slice(0, len(learner.items)))))
    return {trainer, int(np.count_nonzero(catalogue.alive_mask()))}


def test_a_leap_of_the_watermark_takes_nobody_away(config, world):
    learner = Learner(config)
    learner.train(learner.prepare(announced(world, end=world.now + DAY)))
    alarm = ExpiryAlarm(learner.departures, 0.5)
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    assert alive_in_all(learner) == {COUNT}
    (raised,) = alarm.update(learner.watermark)
    assert (raised.kind, raised.id, raised.value) == ("mass_expiry", f"mass_expiry:{learner.watermark}", 1.0)
    assert f"hsnn drift confirm {raised.id}" in raised.detail
    assert alarm.update(learner.watermark) == []  # once


@pytest.mark.parametrize("by", ["operator", "stream"])
def test_held_items_leave_when_it_is_confirmed(config, world, by):
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + DAY))
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    command = Expire(ts=0, until=world.now + HOUR)
    if by == "stream":
        world.now += HOUR
        learner.prepare(world.clicks(["u"], ["i0"]))
    else:
        learner.prepare(world.clicks([], [], control=[msgspec.json.encode(command)]))
        assert learner.touched
        assert StateDelta.decode(learner.delta(1).encode()).expiry_confirmed == command.until
    assert alive_in_all(learner) == {0}
    assert learner.departures.held is None


def test_deletions_and_few_items_are_never_held(config, world):
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + DAY, count=FEWEST))
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    assert alive_in_all(learner) == {0}
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + DAY))
    learner.prepare(world.clicks([], [], items=[world.deletion(f"i{number}") for number in range(COUNT)]))
    assert alive_in_all(learner) == {0}


def test_a_share_of_one_holds_nothing(config, world):
    learner = Learner(config.model_copy(update={"catalogue": CatalogueConfig(mass_expiry_share=1.0)}))
    learner.prepare(announced(world, end=world.now + DAY))
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    assert alive_in_all(learner) == {0}


def test_a_restart_holds_the_same(config, world):
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + DAY))
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    again = Learner.from_state_dict(config, *learner.state_dict())
    assert again.departures.state_dict() == learner.departures.state_dict()
    assert ExpiryAlarm(again.departures, 0.5).update(again.watermark) == []  # it was raised before the checkpoint
    world.now += HOUR
    batch = world.clicks(["u"], ["i0"])
    for one in (learner, again):
        one.prepare(batch)
    assert again.departures.state_dict() == learner.departures.state_dict()
    assert alive_in_all(again) == {0}


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 59), st.integers(1, 600)), max_size=12),
)
def test_blocks_change_nothing(ends, steps):
    """The clock that scans only blocks that are due holds what one that scans everything holds."""
    ends = np.array(ends)
    cached, plain = DepartureClock(0.5, 50), DepartureClock(0.5, 50)
    now = 1
    for passed, row, end in steps:
        now += passed
        ends[row % len(ends)] = end
        cached.note_changed(np.array([row % len(ends)]))
        plain.note_changed(np.arange(len(ends)))
        for clock in (cached, plain):
            clock.advance(now, len(ends), lambda rows: ends[rows])
        assert cached.state_dict() == plain.state_dict()


def catalogue_of(learner: Learner) -> ItemCatalogue:
    return ItemCatalogue(make_snapshot(learner, SnapshotOrigin(1, 1)))


def test_ends_are_obeyed_without_events_and_a_restart_knows_how_long(config, world):
    learner = Learner(config.model_copy(update={"expire_after_idle": 3600.0}))
    items = [Item(id="soon", ts=world.now, features={}, expires_at=world.now + 5_000), world.item("idle")]
    items.append(Item(id="later", ts=world.now, features={}, available_from=world.now + 5_000))
    learner.prepare(world.clicks([], [], items=items, watermark=world.now))
    catalogue = catalogue_of(learner)
    assert catalogue.alive_mask().tolist() == [True, True, False]
    assert not catalogue.obey_ends(4_000)
    assert catalogue.obey_ends(2 * HOUR)  # idleness does not go on by itself
    assert catalogue.alive_mask().tolist() == [False, True, True]
    successor = catalogue_of(learner)
    successor.continue_quiet_ends(catalogue)
    assert successor.alive_mask().tolist() == [False, True, True]


def test_a_stream_that_goes_on_from_where_it_stopped_takes_back_what_the_silence_ended(config, world):
    learner = Learner(config)
    learner.prepare(world.clicks([], [], items=announced(world, world.now + HOUR, 1).items, watermark=world.now))
    catalogue = catalogue_of(learner)
    assert catalogue.obey_ends(DAY)
    learner.train(learner.prepare(world.clicks(["u"], ["i0"])))
    catalogue.apply_state_delta(learner.delta(1))
    assert catalogue.alive_mask().tolist() == [True]


def test_many_ends_in_the_silence_are_held_until_they_are_confirmed(config, world):
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + HOUR))
    catalogue = catalogue_of(learner)
    assert not catalogue.obey_ends(DAY)
    assert catalogue.quiet_ends.held == (COUNT, COUNT)
    learner.departures.confirmed = world.now + DAY
    delta = learner.delta(1)
    catalogue.apply_state_delta(delta)
    assert catalogue.obey_ends(DAY)
    assert not catalogue.alive_mask().any()


def test_nothing_goes_on_in_the_silence_while_the_trainer_holds(config, world):
    learner = Learner(config)
    learner.prepare(announced(world, end=world.now + DAY))
    world.now += 2 * DAY
    learner.prepare(world.clicks(["u"], ["i0"]))
    catalogue = catalogue_of(learner)
    assert not catalogue.obey_ends(10 * DAY)
    assert catalogue.alive_mask().all()


def test_the_wall_clock_may_be_set_during_the_silence():
    seconds = [100.0]
    quiet = QuietClock(lambda: seconds[0])
    quiet.note(Arrival(7, 1_000))
    seconds[0] += 2
    quiet.note(Arrival(7, -DAY))  # set back by a day
    quiet.note(Arrival(7, 2 * DAY))  # and ahead by two
    assert quiet.elapsed_ms(7) == 3_000
    quiet.note(Arrival(8, -5))  # an event that came while the clock was wrong
    assert quiet.elapsed_ms(8) == 0
    assert quiet.elapsed_ms(7) == 0  # not known any more


def test_an_event_that_came_just_now_did_not_come_two_days_ago():
    """The clock of Redis was set ahead after the trainer had noted the event, and before this process saw it."""
    seconds = [100.0]
    quiet = QuietClock(lambda: seconds[0])
    quiet.note(Arrival(7, 0))
    seconds[0] += 2
    quiet.note(Arrival(8, 2 * DAY))
    assert quiet.elapsed_ms(8) == 2_000


def test_time_goes_on_while_what_follows_does_not_come():
    """The trainer is in a new epoch that has no version yet: its states are not for the items that are served."""
    seconds = [100.0]
    quiet = QuietClock(lambda: seconds[0])
    for watermark in (7, 8, 9):
        quiet.note(Arrival(watermark, 0))
        elapsed = quiet.elapsed_ms(7)
        seconds[0] += 20
    assert elapsed == 40_000
    assert quiet.elapsed_ms(9) == 20_000


def test_a_fast_replay_stays_in_its_year():
    """The silence is as long as the wall clock says, whatever the events' times are."""
    ends = QuietEnds(0)
    ends.follow(893_000_000_000)
    seconds = [0.0]
    quiet = QuietClock(lambda: seconds[0])
    quiet.note(Arrival(893_000_000_000, 0))
    seconds[0] = 0.5
    to = 893_000_000_000 + quiet.elapsed_ms(893_000_000_000)
    assert not ends.advance(to, np.array([to + 1]), np.ones(1, np.bool_), share=1.0, confirmed=0)
    assert ends.now == 893_000_000_500
