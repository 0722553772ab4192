"""Model inputs: the tensors that the towers take, made from queries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hsnn.trainer.features.queries import QueryArrays, dense_features, history_gaps


class ModelInputs(NamedTuple):
    """Input tensors of B queries.

    Attributes
    ----------
    history : (B, L, d) first static item vectors, zero where absent
    gaps : (B, L) log minutes since each history item, 0 where absent
    mask : (B, L) 1 where there is an item
    user : (B, t) sum of the user's feature rows
    context : (B, t) sum of the context's feature rows
    dense : (B, 7) see `hsnn.trainer.features.queries.dense_features`
    """

    history: Tensor
    gaps: Tensor
    mask: Tensor
    user: Tensor
    context: Tensor
    dense: Tensor


def model_inputs(queries: QueryArrays, history: Tensor, table: Tensor, rows: Tensor) -> ModelInputs:
    """Build the model inputs of `queries`.

    Parameters
    ----------
    queries
        B queries.
    history : (B, L, d)
        First static vectors of the history's items; zero where absent.
    table : (n, t)
        Feature rows; the last one is of zeros.
    rows : (B, C + X)
        Rows of `table`: the user's features, then the context's.
    """
    known, gaps = queries.history_items >= 0, history_gaps(queries)  # (B, L)
    user_width = queries.user_tokens.shape[1]
    return ModelInputs(
        history=history,
        gaps=torch.from_numpy(gaps),
        mask=torch.from_numpy(known.astype(np.float32)),
        user=_bag_sums(rows[:, :user_width], table),
        context=_bag_sums(rows[:, user_width:], table),
        dense=torch.from_numpy(dense_features(known, gaps[:, -1], queries.now)),
    )


def _bag_sums(rows: Tensor, table: Tensor) -> Tensor:
    """Sum the rows of `table` (n, t) that each of B bags `rows` (B, C) names: (B, t); the last row counts as none."""
    bags, places = torch.nonzero(rows < len(table) - 1, as_tuple=True)  # most places are empty
    return torch.zeros(len(rows), table.shape[1]).index_add(0, bags, table.index_select(0, rows[bags, places]))
