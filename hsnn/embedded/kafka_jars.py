"""Apache Kafka's jar files: resolved once by Maven, kept in a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

from hsnn.embedded.process import EmbeddedError

# The release of Apache Kafka that the tests run against.
VERSION = "4.3.0"

# File that is written last: a folder without it was left half fetched.
_DONE = "complete"


def cache_folder() -> Path:
    """Return where downloads are kept: ``$HSNN_CACHE``, or ``~/.cache/hsnn``."""
    return Path(os.environ.get("HSNN_CACHE") or Path.home() / ".cache" / "hsnn")


def jars_folder() -> Path:
    """Return where the jar files of this version of Kafka are, once they are fetched."""
    return cache_folder() / f"kafka-{VERSION}"


def fetched() -> bool:
    """Whether the jar files are there, all of them."""
    return (jars_folder() / _DONE).exists()


def missing_tools() -> str | None:
    """Say what is missing to run an embedded Kafka here; None if nothing is.

    Java is needed always, Maven only until the jar files are fetched.
    """
    wanted = {"java": "Java 17 or newer (command java)"}
    if not fetched():
        wanted["mvn"] = "Maven (command mvn), which fetches Kafka"
    missing = [text for command, text in wanted.items() if shutil.which(command) is None]
    return " and ".join(missing) + " not found" if missing else None


def fetch() -> Path:
    """Fetch the jar files unless they are there; return their folder.

    Raises
    ------
    EmbeddedError
        Java or Maven is missing, or Maven could not resolve everything.
    """
    target = jars_folder()
    if fetched():
        return target
    if missing := missing_tools():
        raise EmbeddedError(
            f"no embedded Kafka: {missing}; install it, or use a broker of your own (kafka://HOST:PORT)"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two sessions may fetch at once, and either may be interrupted: what is under the final name is always whole.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="kafka-") as folder:
        _resolve(Path(folder))
        Path(folder, _DONE).touch()
        if not fetched():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(folder, target, dirs_exist_ok=True)
    return target


def _resolve(folder: Path) -> None:
    pom = folder / "pom.xml"
    pom.write_bytes(files("hsnn.embedded").joinpath("kafka-pom.xml").read_bytes())
    command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise EmbeddedError(
            f"Maven could not fetch Apache Kafka {VERSION} (exit {done.returncode}); the end of its output:\n"
            f"{(done.stdout + done.stderr)[-2000:]}\nCheck the network and Maven's settings.xml."
        )
