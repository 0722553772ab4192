"""One plot per measure, one line per competitor, over the share of the items replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hsnn.evaluation.optional_packages import import_optional
from hsnn.evaluation.report.plots import STYLE, line_widths

MEASURES = {
    "recall": "recall@50 against brute force",
    "p99_ms": "p99 of a query, ms",
    "mb": "memory, MB",
    "items_per_second": "items replaced per second",
}
_COLOURS = {
    "hsnn": "#0b6e4f",
    "refitted": "#7fb77e",
    "hnswlib": "#3b6ea8",
    "faiss": "#c1440e",
    "faiss_rebuilt": "#e0a07c",
    "vectorset": "#7a4f9a",
}
_LOGARITHMIC = ("p99_ms", "mb", "items_per_second")


def draw(competitors: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """Write the plots of one size into `folder`; return their files."""
    matplotlib = import_optional("matplotlib", "the plots", "matplotlib")
    matplotlib.use("Agg")
    files = []
    with matplotlib.rc_context(STYLE):
        pyplot = import_optional("matplotlib.pyplot", "the plots", "matplotlib")
        for measure, title in MEASURES.items():
            figure, axes = pyplot.subplots()
            widths = line_widths(len(competitors))
            for (name, of), width in zip(competitors.items(), widths, strict=True):
                looks = [look for look in of["looks"] if look.get(measure) is not None]
                churn = [100 * look["churn"] for look in looks]
                found = [look[measure] for look in looks]
                label = name.replace("_", " ")
                axes.plot(churn, found, "o-", label=label, color=_COLOURS[name], linewidth=width, markersize=5)
            if measure in _LOGARITHMIC:
                axes.set_yscale("log")
            axes.set(xlabel="items replaced, % of all", ylabel=title)
            axes.legend()
            files.append(folder / f"{stem}-{measure}.svg")
            figure.savefig(files[-1], metadata={"Date": None})
            pyplot.close(figure)
            plain = re.sub(r"\n *<metadata>.*?</metadata>", "", files[-1].read_text("utf-8"), flags=re.DOTALL)
            files[-1].write_text(plain, "utf-8")
    return files
