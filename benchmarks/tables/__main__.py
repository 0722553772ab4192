"""Write the tables of `docs/benchmarks.md` from `results/*.json`, so that no figure there is typed by hand.

make docs
"""

from __future__ import annotations

import json
import re

from benchmarks.paths import RESULTS_FOLDER, ROOT
from benchmarks.publish.table import table as publish
from benchmarks.tables.ablation import ablation
from benchmarks.tables.drift import drift
from benchmarks.tables.parts import checkpoints, exact, hosts, ids, pipeline, speed, workers
from benchmarks.tables.quality import learners, quality
from benchmarks.tables.static import gowalla
from benchmarks.tables.system import churn, crash, demo, freshness, fuzz, ingest, kills

PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    page = PAGE.read_text("utf-8")
    renders = {
        "quality": quality,
        "ablation": ablation,
        "learners": learners,
        "checkpoints": checkpoints,
        "gowalla": gowalla,
        "speed": speed,
        "drift": drift,
        "exact": exact,
        "demo": demo,
        "churn": churn,
        "crash": crash,
        "kills": kills,
        "freshness": freshness,
        "hosts": hosts,
        "ids": ids,
        "ingest": ingest,
        "pipeline": pipeline,
        "publish": publish,
        "fuzz": fuzz,
        "workers": workers,
    }
    for name, render in renders.items():
        path = RESULTS_FOLDER / f"{'quality' if name == 'learners' else name}.json"
        if path.exists():
            table = render(json.loads(path.read_text("utf-8")))
            between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
            page = between.sub(lambda _, table=table: f"{table}\n", page)
    PAGE.write_text(page, "utf-8")
    print(f"rewrote the tables of {PAGE.name}")


if __name__ == "__main__":
    main()
