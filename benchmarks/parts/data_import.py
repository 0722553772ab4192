"""Time and memory of ``hsnn data import``: events and products as CSV files. Writes `results/data_import.json`.

    make bench ARGS=parts.data_import                    # 10,000,000 events, 650 MB
    make bench ARGS='parts.data_import --events 100000'

The import is a process of its own, as a person would start it: reading, checking, sorting and writing are all in it.
Columns are guessed by their names. Users and items are drawn so that few have many events; times are in no order.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import msgspec

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER

RESULTS = RESULTS_FOLDER / "data_import.json"

# Items; there are five times as many users.
_ITEMS = 100_000

# Days that the events are spread over.
_DAYS = 90


def write_files(folder: Path, events: int) -> None:
    """Write ``events.csv`` and ``products.csv``."""
    with duckdb.connect() as database:
        database.execute("SET threads = 1; SET memory_limit = '1GB'; SELECT setseed(0.5)")
        database.execute(
            f"""COPY (SELECT concat('user-', (random() * random() * {5 * _ITEMS})::INT) AS visitor,
            concat('sku-', (random() * random() * {_ITEMS})::INT) AS sku,
            strftime(TIMESTAMP '2026-01-01' + to_microseconds((random() * {_DAYS} * 86400e6)::BIGINT),
                     '%Y-%m-%d %H:%M:%S.%g') AS created_at,
            CASE WHEN random() < 0.9 THEN 'view' ELSE 'buy' END AS action, round(random() * 100, 2) AS price,
            concat('e-', i) AS event_id FROM range({events}) t(i)) TO '{folder}/events.csv' (HEADER)"""
        )
        database.execute(
            f"""COPY (SELECT concat('sku-', i) AS sku, concat('Thing number ', i) AS title,
            round(random() * 100, 2) AS price, concat('kind-', i % 50) AS category
            FROM range({_ITEMS + 1}) t(i)) TO '{folder}/products.csv' (HEADER)"""
        )


def measured(folder: Path) -> dict[str, float]:
    """Import the files of a folder in a process; return its seconds, processor time and largest memory, MB."""
    environ = os.environ | {"HSNN_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "hsnn", "data", "import", str(folder / "shop"), "--name", "shop"]
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL)  # it writes a map here
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"the import ended with status {os.waitstatus_to_exitcode(status)}; its message is above")
    megabytes = usage.ru_maxrss * 1024 / 1e6  # Linux counts kibibytes
    return {"seconds": seconds, "processor_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": megabytes}


def main() -> None:
    """Write files, import them, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=positive, default=10_000_000)
    parser.add_argument("--json", type=Path, help="file of the results; without it, that of the repository")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hsnn-import-") as name:
        folder = Path(name)
        (folder / "shop").mkdir()
        write_files(folder / "shop", options.events)
        size = sum(file.stat().st_size for file in (folder / "shop").iterdir()) / 1e6
        load = os.getloadavg()[0]
        found = measured(folder)
    result = {"events": options.events, "file_mb": size, "cores": os.cpu_count(), "load_before": load, **found}
    for key, value in result.items():
        print(f"{key:18} {value:,.1f}" if isinstance(value, float) else f"{key:18} {value:,}")
    (options.json or RESULTS).write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")


if __name__ == "__main__":
    main()
