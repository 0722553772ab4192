"""What ``hsnn index fit`` does: read files, learn the levels, write the index, compare it with exhaustive search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from hsnn.trainer.errors import VectorFileError
from hsnn.trainer.threads import use_threads
from hsnn.trainer.vector_index.exhaustive import IndexRecall, csr_of_pairs, csr_rows, index_recall
from hsnn.trainer.vector_index.files import check_widths, read_pairs, read_vectors
from hsnn.trainer.vector_index.fit import FitSettings, IndexFit

# Users on whom an index is compared with exhaustive search: the share found is known to half a point.
_COMPARED = 2000


def fit_files(
    *,
    users: Path,
    items: Path,
    pairs: Path,
    out: Path,
    say: Callable[[str], None],
    share: float,
    k: int,
    passes: int,
    seed: int,
) -> IndexRecall:
    """Learn levels on brought vectors and write the index to `out`; return, and say, what it finds.

    Parameters
    ----------
    share
        Share of the items that a search may score.
    k
        Length of the compared answers; each user's training items are left out of them.

    Raises
    ------
    VectorFileError
        A file cannot be used; nothing is written then.
    """
    if out.suffix != ".safetensors":
        raise VectorFileError(f"{out}: an index is written to a file that ends in .safetensors")
    if out.exists():
        raise VectorFileError(f"{out} exists already; name another file or remove it first")
    if not out.absolute().parent.is_dir():
        raise VectorFileError(f"there is no folder {out.absolute().parent} to write to")
    user_vectors, item_vectors = read_vectors(users, "user vectors"), read_vectors(items, "item vectors")
    check_widths(user_vectors, item_vectors)
    engaged = np.unique(read_pairs(pairs, len(user_vectors), len(item_vectors)), axis=0)
    if k > len(item_vectors):
        raise VectorFileError(f"{items} has {len(item_vectors):,} item vectors; an answer cannot have {k}")
    use_threads(1)
    settings = replace(FitSettings.for_items(len(item_vectors), share, seed), passes=passes)
    settings = replace(settings, budget=max(settings.budget, k))
    say(
        f"{len(user_vectors):,} users, {len(item_vectors):,} items, {len(engaged):,} pairs; "
        f"{' x '.join(map(str, (settings.nodes, *settings.children)))} nodes"
    )
    index = IndexFit(user_vectors, item_vectors, engaged, settings).train()
    chosen = np.sort(
        np.random.default_rng(seed).choice(len(user_vectors), min(_COMPARED, len(user_vectors)), replace=False)
    )
    own = csr_rows(csr_of_pairs(engaged, len(user_vectors)), chosen)
    found = index_recall(index, user_vectors[chosen], k, own)
    about = {"pairs": str(len(engaged)), f"recall_at_{k}": f"{found.recall:.6f}", "scored": f"{found.scored:.1f}"}
    index.save(out, about | {"nodes_scored": str(found.nodes), "seed": str(seed)})
    say(
        f"finds {100 * found.recall:.2f}% of the exhaustive best {k} with {found.scored:,.0f} items scored per request "
        f"({100 * found.scored / len(item_vectors):.2f}%) and {found.nodes:,} nodes, over {len(chosen):,} users"
    )
    say(f"written to {out}")
    return found
