from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.api.token_bucket import TokenBucket
from hsnn.serving.workers.shared_rates import SharedRates

STEPS = st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3), st.integers(0, 4)), max_size=40)


@given(steps=STEPS, rate=st.floats(0.1, 20))
def test_buckets_of_several_processes_are_one_bucket(tmp_path_factory, steps, rate):
    now = 100.0
    rates = SharedRates(["token shop"], tmp_path_factory.mktemp("rates") / "lock", clock=lambda: now)
    workers = [rates.open()("token shop", rate) for _ in range(3)]
    one = TokenBucket(rate, clock=lambda: now)
    for worker, pause, charged in steps:
        now += pause
        assert workers[worker].take(1) == one.take(1)
        workers[worker].charge(charged)
        one.charge(charged)


def test_addresses_have_buckets_of_their_own_and_the_silent_ones_are_given_up_first(tmp_path):
    now = 100.0
    rates = SharedRates(["key shop"], tmp_path / "lock", clock=lambda: now, sets=64)  # of eight
    new_bucket = rates.open()
    key = new_bucket("key shop", 1.0)
    key.charge(50)
    for number in range(3000):
        now += 0.01
        new_bucket(f"address shop {number}", 1.0).charge(1000)
    assert sum(new_bucket(f"address shop {number}", 1.0).take(1) > 0 for number in range(2850, 3000)) > 145
    assert new_bucket("address shop 0", 1.0).take(1) == 0.0
    assert key.take(1) > 0  # 30 s later: it was never given up
    assert rates.open()("key shop", 1.0).take(1) > 0
