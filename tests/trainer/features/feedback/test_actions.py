from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError

from hsnn.trainer.config.model import ModelConfig, TrainerConfig
from hsnn.trainer.features.feedback.actions import ActionTable
from hsnn.trainer.metrics import UNNAMED_ACTIONS


def test_dislikes_are_known_in_any_spelling():
    spellings = ["thumbs_down", "Thumbs-Down", "thumbsDown", "NOT_INTERESTED", "Not Interested", "dislike"]
    found = ActionTable(TrainerConfig()).read([*spellings, "click", "thumbs_up"])
    assert found.disliked.tolist() == [True] * len(spellings) + [False, False]
    assert len(set(found.codes[:3].tolist())) == 1


def test_the_configuration_says_what_a_dislike_is():
    table = ActionTable(TrainerConfig(dislikes=("boo",), action_weights={"boo": 0.5, "buy": 5}))
    found = table.read(["boo", "skip", "BUY", "buy"])
    assert found.disliked.tolist() == [True, False, False, False]
    assert found.weights.tolist() == [0.5, 1.0, 5.0, 5.0]


def test_only_rated_actions_have_a_rank():
    assert ActionTable(TrainerConfig(rated_actions=("Grade",))).read(["grade", "rate", "purchase"]).rated.tolist() == [
        0,
        -1,
        -1,
    ]


def test_an_action_in_no_table_is_pointed_out_once_and_counted(caplog):
    table = ActionTable(TrainerConfig(model=ModelConfig(tasks=("finish_level",))))
    before = UNNAMED_ACTIONS._value.get()
    with caplog.at_level(logging.WARNING):
        first = table.read(["frobnicate", "click", "frobnicate", "finish_level"])
        table.read(["frobnicate"])
    said = Counter(record.getMessage().partition(" is in no table")[0] for record in caplog.records)
    assert said == {"the action 'frobnicate'": 1}
    assert UNNAMED_ACTIONS._value.get() - before == 3
    assert first.weights.tolist() == [1.0] * 4
    assert first.codes[0] == 0 < first.codes[1]


def test_no_actions_are_no_columns():
    assert [len(column) for column in ActionTable(TrainerConfig()).read([])] == [0, 0, 0, 0]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), 1e30, -1e-9])
def test_a_weight_that_breaks_counters_is_refused_with_the_way_out(weight):
    with pytest.raises(ValidationError, match=r"name the action in trainer\.dislikes"):
        TrainerConfig(action_weights={"dislike": weight})


def test_bounds_themselves_are_weights():
    assert TrainerConfig(action_weights={"a": 0, "b": 100}).action_weights == {"a": 0, "b": 100}
    assert np.isfinite(ActionTable(TrainerConfig(action_weights={"a": 100})).read(["a"]).weights).all()
