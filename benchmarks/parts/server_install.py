"""What a server without torch costs: import of the server's modules, and size of a base install.

    make bench ARGS='parts.server_install'
    python -m benchmarks.parts.server_install --rounds 5 --json FILE

Each import is in a process of its own, with and without an import of torch before it, in turns. Sizes are those of the
files of `hsnn`'s requirements without extras, as they are installed here. Writes `results/server_install.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

from packaging.requirements import Requirement

from benchmarks.arguments import positive
from benchmarks.paths import RESULTS_FOLDER

RESULTS = RESULTS_FOLDER / "server_install.json"

# Not the peak that the system counts for a process: it begins with what the process that starts it has.
_IMPORT = """
import resource, sys
from pathlib import Path
{before}
import hsnn.serving.api.server
used = resource.getrusage(resource.RUSAGE_SELF)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(used.ru_utime + used.ru_stime, int(status["VmHWM"].split()[0]) / 1024, "torch" in sys.modules)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    found = {"cores": os.cpu_count()} | imports(options.rounds) | {"base_install_mb": base_install()}
    options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(options.json.read_text("utf-8"))


def imports(rounds: int) -> dict[str, Any]:
    """Medians: seconds of CPU time and peak of resident MiB of a process that imports the server's modules."""
    taken: dict[str, list[tuple[float, float]]] = {"server": [], "server_after_torch": []}
    for _ in range(rounds + 1):  # the first one writes bytecode, and reads all files from disk
        for name, before in (("server", ""), ("server_after_torch", "import torch")):
            program = _IMPORT.format(before=before)
            run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            seconds, mebibytes, has_torch = run.stdout.split()
            if (has_torch == "True") is not bool(before):
                raise RuntimeError(f"{name}: torch is loaded: {has_torch}")
            taken[name].append((float(seconds), float(mebibytes)))
    return {
        name: {"seconds": round(median(s for s, _ in found[1:]), 2), "mib": round(median(m for _, m in found[1:]))}
        for name, found in taken.items()
    }


def base_install() -> dict[str, float]:
    """Megabytes of the files of `hsnn`'s requirements without extras, the ten largest ones by name, and in all."""
    sizes: dict[str, float] = {}
    pending = ["hsnn"]
    while pending:
        name = pending.pop()
        if name not in sizes:
            distribution = metadata.distribution(name)
            # The project itself is a checkout here, whose size says nothing.
            sizes[name] = 0.0 if name == "hsnn" else _megabytes(distribution)
            pending += _requirements(distribution)
    largest = dict(sorted(sizes.items(), key=lambda size: -size[1])[:10])
    return {name: round(size, 1) for name, size in largest.items()} | {"all": round(sum(sizes.values()), 1)}


def _requirements(distribution: metadata.Distribution) -> list[str]:
    needed = [Requirement(text) for text in distribution.requires or ()]
    return [need.name.lower() for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]


def _megabytes(distribution: metadata.Distribution) -> float:
    paths = [Path(str(file.locate())) for file in distribution.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / 1e6


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Import time of the server, and size of a base install.")
    parser.add_argument("--rounds", type=positive, default=5, help="imports of each kind; 5")
    parser.add_argument("--json", type=Path, default=RESULTS, help="write the figures there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
