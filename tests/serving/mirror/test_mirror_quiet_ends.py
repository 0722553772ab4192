"""The mirror obeys announced ends where the stream is quiet."""

from __future__ import annotations

from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.schema import Request
from hsnn.serving.search.retrieval import retrieve
from hsnn.trainer.features.mass_expiry import Arrival, QuietClock

HOUR = 3_600_000


def found(mirror: Mirror) -> set[str]:
    return set(retrieve(mirror, [Request(user="x", k=50, mode="exhaustive")], RetrievalLimits(max_k=50))[0].items)


def quiet_for(plant, milliseconds: int) -> QuietClock:
    quiet = QuietClock()
    quiet.note(Arrival(plant.now, milliseconds))
    return quiet


def test_an_end_is_obeyed_without_traffic_and_taken_back_where_the_stream_goes_on_before_it(fresh_plant):
    plant, mirror = fresh_plant, Mirror()
    plant.add("ends", 0, expires_at=plant.now + HOUR)
    plant.add("stays", 1)
    plant.load(mirror)
    assert mirror.obey_ends(quiet_for(plant, HOUR - 60_000)) is None
    assert found(mirror) == {"ends", "stays"}
    mirror.obey_ends(quiet_for(plant, HOUR))
    assert found(mirror) == {"stays"}

    plant.epoch += 1  # the trainer starts again, and everything is loaded again
    plant.load(mirror)
    assert found(mirror) == {"stays"}

    plant.engage("y", "stays", after=1_000)  # a replay that had been paused
    mirror.apply_state(plant.state())
    assert found(mirror) == {"ends", "stays"}


def test_many_ends_at_once_are_held(fresh_plant):
    plant, mirror = fresh_plant, Mirror()
    for number in range(30):
        plant.add(f"i{number}", number % 6, expires_at=plant.now + HOUR)
    plant.mass_expiry_share = 0.5
    plant.load(mirror)
    assert mirror.obey_ends(quiet_for(plant, 2 * HOUR)) == (30, 30)
    assert len(found(mirror)) == 30


def test_before_the_first_version_there_is_nothing_to_obey():
    assert Mirror().obey_ends(QuietClock()) is None
