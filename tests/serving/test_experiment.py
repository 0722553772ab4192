"""Which arm of an experiment answers whom."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsnn.serving.config import ExperimentConfig, ServingConfig
from hsnn.serving.experiment import Experiment
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.schema import Request, RetrievalMode

USERS = [f"u{number}" for number in range(4000)]


def experiment(name: str = "first", **arms: dict[str, object]) -> Experiment:
    """An experiment with arms as the configuration has them."""
    config = ExperimentConfig.model_validate({"name": name, "arms": arms})
    return Experiment(config, RetrievalLimits(beam=16, budget=200))


def test_shares_are_kept_and_a_user_keeps_the_arm():
    chosen = experiment(a={"share": 0.7}, b={"share": 0.2, "beam": 64}, c={"share": 0.1})
    arms = [chosen.arm_of(Request(user=user)).name for user in USERS]
    counts = Counter(arms)
    # five standard deviations of a share of one half among 4,000 are four points
    assert [counts[name] / len(USERS) for name in "abc"] == pytest.approx([0.7, 0.2, 0.1], abs=0.04)
    assert arms == [chosen.arm_of(Request(user=user, k=3)).name for user in USERS]


def test_another_name_draws_other_groups():
    halves = {"a": {"share": 0.5}, "b": {"share": 0.5}}
    first, second = experiment("first", **halves), experiment("second", **halves)
    same = [first.arm_of(Request(user=user)).name == second.arm_of(Request(user=user)).name for user in USERS]
    assert sum(same) / len(same) == pytest.approx(0.5, abs=0.04)


@pytest.mark.slow
@given(st.one_of(st.text(), st.integers()))
def test_everybody_has_one_arm_and_a_number_is_its_text(user):
    thirds = experiment(a={"share": 0.1}, b={"share": 0.2}, c={"share": 0.7})  # their sum is not quite 1 in binary
    arm = thirds.arm_of(Request(user=user))
    assert arm.name in ("a", "b", "c")
    assert arm == thirds.arm_of(Request(user=str(user)))


def test_an_arm_changes_what_it_names_and_keeps_the_rest():
    chosen = experiment(a={"share": 1, "budget": 50, "mode": "exhaustive"})
    arm = chosen.arm_of(Request(user="u"))
    assert arm.limits == RetrievalLimits(beam=16, budget=50)
    assert arm.request(Request(user="u", k=7)) == Request(user="u", k=7, mode=RetrievalMode.EXHAUSTIVE.value)


def test_requests_that_name_a_mode_and_servers_without_arms_have_none():
    chosen = experiment(a={"share": 1, "budget": 50, "shadow": 1})
    none = chosen.arm_of(Request(user="u", mode="popularity"))
    assert (none.name, none.limits) == ("", RetrievalLimits(beam=16, budget=200))
    assert none.request(Request(user="u", mode="popularity")).mode == "popularity"
    assert chosen.shadows_of(Request(user="u", mode="popularity"), "call") == []
    assert Experiment(ExperimentConfig(), RetrievalLimits()).arm_of(Request(user="u")).name == ""


def test_an_index_is_that_of_the_users_arm_unless_one_is_named():
    chosen = experiment(own={"share": 0.5}, other={"share": 0.5, "prefix": "challenger", "shadow": 1, "budget": 50})
    arms = {user: chosen.arm_of(Request(user=user)) for user in USERS[:50]}
    assert {arm.prefix for arm in arms.values()} == {"", "challenger"}
    for user, arm in arms.items():
        assert chosen.arm_of_user(user) == arm
        named = chosen.arm_of(Request(user=user, index="challenger"))
        assert (named.name, named.prefix, named.limits.budget) == ("", "challenger", 200)
        assert chosen.arm_of_user(user, "hsnn").prefix == "hsnn"
        assert chosen.shadows_of(Request(user=user, index="hsnn"), "call") == []
        assert chosen.arm_of(Request(user=user, mode="popularity")).prefix == ""
    assert chosen.arm_of_user(None).prefix == ""


def test_without_other_indexes_no_user_has_one():
    assert experiment(a={"share": 1, "budget": 50}).arm_of_user("u").name == ""


def test_requests_are_grouped_by_arm_in_their_order():
    chosen = experiment(a={"share": 0.5}, b={"share": 0.5})
    requests = [Request(user=user) for user in USERS[:50]]
    groups = chosen.groups(requests)
    assert sorted(place for places in groups.values() for place in places) == list(range(50))
    for arm, places in groups.items():
        assert places == sorted(places)
        assert {chosen.arm_of(requests[place]) for place in places} == {arm}


def test_a_shadow_answers_its_share_of_the_other_users_requests():
    chosen = experiment(a={"share": 1}, b={"shadow": 0.25}, c={"shadow": 1})
    seen = Counter(
        arm.name for number, user in enumerate(USERS) for arm in chosen.shadows_of(Request(user=user), f"call {number}")
    )
    assert seen["b"] / len(USERS) == pytest.approx(0.25, abs=0.04)
    assert seen["c"] == len(USERS)
    assert "a" not in seen


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"name": "x", "arms": {"a": {"share": 0.5}, "b": {"share": 0.3}}}, "a 0.5, b 0.3"),
        ({"arms": {"a": {"share": 1}}}, "needs a name"),
        ({"name": "x", "arms": {"a": {"share": 2}}}, "less than or equal to 1"),
        ({"name": "x", "arms": {"a": {"share": 1, "mode": "beams"}}}, "mode"),
        ({"name": "x", "arms": {"a": {"share": 1, "prefix": ""}}}, "prefix"),
        ({"name": "x", "arms": {"a": {"share": 1, "prefix": "a:b"}}}, "prefix"),
    ],
)
def test_experiments_that_cannot_be_are_refused(given, text):
    with pytest.raises(ValueError, match=text):
        ServingConfig.model_validate({"experiment": given})
