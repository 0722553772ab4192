"""Parts of the default that no configuration key switches off, each taken away by a change of the code for one pass.

An alteration is a context manager: passes made inside it are without the part, in this process alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

import torch

from hsnn.serving.search import modes
from hsnn.streaming.schema.item_life import KnownItem
from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.features.catalogue import ItemTable
from hsnn.trainer.modules.towers import HistorySkip
from hsnn.trainer.training.learner import Learner
from hsnn.trainer.training.prepared import PreparedBatch, StepReport


def no_skip() -> AbstractContextManager[object]:
    """Take the skips from the history to the user vectors away: their weights are zero and are not learned.

    Those of the item level and of the learned levels.
    """
    init = HistorySkip.__init__

    def zero(self: HistorySkip, config: ModelConfig, vectors: int) -> None:
        init(self, config, vectors)
        torch.nn.init.zeros_(self.weight)
        self.weight.requires_grad_(False)

    return patch.object(HistorySkip, "__init__", zero)


def no_mask() -> AbstractContextManager[object]:
    """Train without `trainer.exclude`: items left out are negatives, events on them lessons; answers obey it still."""
    train = Learner.train

    def unmasked(self: Learner, prepared: PreparedBatch) -> StepReport:
        return train(self, replace(prepared, excluded=prepared.excluded[:, :0]))

    return patch.object(Learner, "train", unmasked)


def beam_alone() -> AbstractContextManager[object]:
    """Take candidates from the index alone; pair facts are scored, but name none.

    Training is the default's, and so is the measurement that decides how much the index yields.
    """
    return patch.object(modes, "pair_candidates", lambda *_: {})


def no_content() -> AbstractContextManager[object]:
    """Ignore the features of items, whose vector is that of their id alone; those of users stay."""
    set_record = ItemTable.set_record

    def without_tokens(self: ItemTable, row: int, record: KnownItem) -> None:
        set_record(self, row, record)
        self.tokens[row] = -1

    return patch.object(ItemTable, "set_record", without_tokens)


ALTERATIONS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_skip": no_skip,
    "no_mask": no_mask,
    "beam_alone": beam_alone,
    "no_content": no_content,
}
"""By the variant that they make."""
