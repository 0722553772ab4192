"""Which index answers for an arm."""

from __future__ import annotations

import pytest

from hsnn.serving.errors import NotReadyError, RequestError
from hsnn.serving.experiment import Arm
from hsnn.serving.limits import RetrievalLimits
from hsnn.serving.mirror.mirror import Mirror
from hsnn.serving.sync.arm_index import ArmIndex
from hsnn.serving.sync.indexes import AnsweringIndex, Indexes


def arm(prefix: str, name: str = "b") -> Arm:
    """An arm, or with an empty name what a request named."""
    return Arm(name, share=1.0, shadow=0.0, mode=None, limits=RetrievalLimits(), prefix=prefix)


@pytest.fixture
def own() -> Mirror:
    return Mirror()


@pytest.fixture
def other() -> Mirror:
    return Mirror()


@pytest.fixture
def indexes(own, other) -> Indexes:
    return Indexes(own, {"other": ArmIndex("other", own, other, stale_after=600.0)})


def test_a_server_with_one_index_answers_from_it_and_names_none(own):
    alone = Indexes(own)
    assert alone.names == ["hsnn"]
    assert alone.of(arm("")) == alone.of(arm("hsnn", name="")) == AnsweringIndex(own)
    with pytest.raises(RequestError, match="known: hsnn"):
        alone.of(arm("other", name=""))


def test_an_arm_is_answered_by_its_index_or_by_the_servers_own_until_that_can_answer(indexes, own, other):
    assert indexes.names == ["hsnn", "other"]
    assert indexes.of(arm("")) == AnsweringIndex(own, "hsnn")
    assert indexes.of(arm("other")) == AnsweringIndex(own, "hsnn", fallback="missing")
    assert indexes.details()["other"]["ready"] is False
    other.warm = True
    assert indexes.of(arm("other")) == AnsweringIndex(other, "other")
    assert indexes.details() == {"other": {"version": 0, "ready": True}}


def test_an_index_that_is_named_is_never_replaced(indexes, other):
    with pytest.raises(NotReadyError, match="'other' has no version"):
        indexes.of(arm("other", name=""))
    with pytest.raises(RequestError, match="known: hsnn, other"):
        indexes.of(arm("another", name=""))
    other.warm = True
    assert indexes.of(arm("other", name="")) == AnsweringIndex(other, "other")
