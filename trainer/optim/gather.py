"""Gathering of table rows for a step: each distinct row once, as leaf tensors that collect its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hsnn.trainer.config.model import ModelConfig
from hsnn.trainer.distributed.shard import QueryShard
from hsnn.trainer.features.queries import QueryArrays
from hsnn.trainer.modules.inputs import ModelInputs, model_inputs
from hsnn.trainer.optim.batch import LabelledItems
from hsnn.trainer.optim.embedding_table import EmbeddingTable
from hsnn.trainer.optim.item_embeddings import GatheredItems, ItemEmbeddings


class RowPositions(NamedTuple):
    """Positions of candidates (U,), histories (B, L) and labelled items (J,) among n distinct rows; n for padding."""

    candidates: NDArray[np.int64]
    history: NDArray[np.int64]
    judged: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GatheredRows:
    """Rows of a step with U candidates, J labelled items and R queries (of events, then of labelled items).

    Attributes
    ----------
    queries : QueryArrays
        All R.
    rows : (n,) int64
        Distinct items: candidates, histories, labelled items.
    places : RowPositions
        Positions of these among `rows`.
    items : GatheredItems
        Static vectors of `rows`, and their leaves.
    feature_rows : (f,) int64
        Rows of the feature table; `features` (f, t) is their leaf.
    feature_places : (R, C + X) int64
        Rows of `features`; f for none.
    """

    queries: QueryArrays
    rows: NDArray[np.int64]
    places: RowPositions
    items: GatheredItems
    feature_rows: NDArray[np.int64]
    features: Tensor
    feature_places: NDArray[np.int64]

    def part_of(self, part: QueryShard) -> GatheredRows:
        """Restrict the queries and labelled items to one shard; the rows stay those of the whole step."""
        if part.size == 1:
            return self
        judged, first = self.places.judged, len(self.queries.now) - len(self.places.judged)
        cut = part.slice_of(len(judged))
        own = np.r_[part.slice_of(first), first + cut.start : first + cut.stop]
        places = self.places._replace(history=self.places.history[own], judged=judged[cut])
        return replace(self, queries=self.queries.select(own), places=places, feature_places=self.feature_places[own])

    def inputs(self, dim: int) -> ModelInputs:
        """Build the model inputs of the queries; `dim` is the width of one item vector."""
        # A zero row at the end, so that padding positions gather zeros.
        table = torch.cat([self.features, torch.zeros(1, self.features.shape[1])])  # (f+1, t)
        first = torch.cat([self.items.vectors[:, :dim], torch.zeros(1, dim)])  # (n+1, d)
        places = torch.from_numpy(self.places.history)
        history = first.index_select(0, places.view(-1)).view(*places.shape, dim)  # (R, L, d)
        return model_inputs(self.queries, history, table, torch.from_numpy(self.feature_places))

    def candidates(self) -> Tensor:
        """Return the static vectors of the candidates, (U, W)."""
        return self.items.vectors.index_select(0, torch.from_numpy(self.places.candidates))

    def judged(self) -> Tensor:
        """Return the static vectors of the labelled items, (J, W)."""
        return self.items.vectors.index_select(0, torch.from_numpy(self.places.judged))

    @property
    def gradient_leaves(self) -> list[Tensor]:
        """Return the leaves that collect gradients: ids, content, features."""
        return [self.items.ids, self.items.content, self.features]


class StepTables:
    """Gather and update rows of the item and hashed-feature tables in a step."""

    def __init__(self, model: ModelConfig, items: ItemEmbeddings, features: EmbeddingTable) -> None:
        self._empty = 2 * model.buckets
        self._buckets, self._items, self._features = model.buckets, items, features

    def gather(
        self,
        candidates: NDArray[np.int64],
        tokens: NDArray[np.int32],
        asked: Sequence[QueryArrays],
        judged: LabelledItems | None = None,
    ) -> GatheredRows:
        """Gather the rows of candidates (U,), queries and labelled items; `tokens` are those of all items."""
        rows, places = distinct_rows(candidates, [queries.history_items for queries in asked], judged)
        items = self._items.gather(rows, tokens[rows])
        queries = reduce(QueryArrays.concat, asked)
        wanted = queries.feature_rows(self._buckets)
        used, inverse = np.unique(wanted, return_inverse=True)
        known = used[used != self._empty]
        feature_places = inverse.reshape(wanted.shape).astype(np.int64)
        return GatheredRows(
            queries=queries,
            rows=rows,
            places=places,
            items=items,
            feature_rows=known,
            features=self._features.gather(known),
            feature_places=feature_places,
        )

    def apply_gradients(self, taken: GatheredRows, rate: float) -> None:
        """Apply the gradients of gathered rows."""
        self._items.apply_gradients(taken.rows, taken.items, rate)
        self._features.apply_gradients(taken.feature_rows, taken.features, rate)


def distinct_rows(
    candidates: NDArray[np.int64], histories: list[NDArray[np.int32]], judged: LabelledItems | None
) -> tuple[NDArray[np.int64], RowPositions]:
    """Find the distinct rows (n,) of all items of a step, and the positions of its parts among them."""
    history = np.concatenate(histories)  # (B, L)
    known = history >= 0
    of_judged = np.zeros(0, np.int64) if judged is None else judged.items
    rows, inverse = np.unique(np.concatenate([candidates, of_judged, history[known]]), return_inverse=True)
    first, second = len(candidates), len(candidates) + len(of_judged)
    places = np.full(history.shape, len(rows), np.int64)
    places[known] = inverse[second:]
    return rows, RowPositions(inverse[:first], places, inverse[first:second])
