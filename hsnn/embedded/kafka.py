"""An embedded Apache Kafka broker (KRaft, one node) on loopback.

``python -m hsnn.embedded.kafka fetch`` gets its jar files, ``start`` runs one until it is interrupted, or by ``stop``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from types import TracebackType

from hsnn.embedded.kafka_jars import cache_folder, fetch, missing_tools
from hsnn.embedded.process import ChildServer, EmbeddedError, accepts, free_port

__all__ = ["EmbeddedKafka", "fetch", "main", "missing_tools"]

# slf4j-simple writes everything from INFO on; a healthy broker should leave a short log.
_QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


class EmbeddedKafka:
    """A broker that `start` starts and `stop` stops, at `url`; it ends with this process, however that ends.

    Parameters
    ----------
    folder
        Where its data goes; a temporary folder, removed at the end, if None.
    port
        A free one if None.
    environment
        Changes of the broker's environment; None takes a variable out.
    """

    def __init__(
        self,
        folder: Path | None = None,
        port: int | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._given, self._environment = folder, environment
        self._wanted = port
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._server: ChildServer | None = None
        self.port = 0

    @property
    def bootstrap(self) -> str:
        """HOST:PORT, as Kafka's own tools want it."""
        if self._server is None:
            raise EmbeddedError("the embedded Kafka is not running; call start() or use it in a with statement")
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Address for `hsnn.streaming.log.open.open_log`."""
        return f"kafka://{self.bootstrap}"

    @property
    def running(self) -> bool:
        """Whether the broker runs."""
        return self._server is not None and self._server.running

    def start(self) -> EmbeddedKafka:
        """Start the broker; fetches its jar files first if need be.

        Raises
        ------
        EmbeddedError
            Java or Maven is missing, or the broker did not start; the message says why.
        """
        if missing := missing_tools():
            raise EmbeddedError(
                f"no embedded Kafka: {missing}; install it, or use a broker of your own (kafka://HOST:PORT)"
            )
        jars = fetch()
        if self._given is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="hsnn-kafka-")
        folder = self._given or Path(self._temporary.name if self._temporary else "")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._launch(jars, folder)
        except BaseException:
            self.stop()
            raise
        return self

    def _launch(self, jars: Path, folder: Path) -> None:
        self.port = self._wanted or free_port()
        java = ["java", "-Xmx512m", _QUIET, "-cp", f"{jars}/*"]
        properties = _write_properties(folder, self.port)
        if not (folder / "data" / "meta.properties").exists():
            _format(java, properties)
        self._server = ChildServer([*java, "kafka.Kafka", str(properties)], folder / "server.log", self._environment)
        self._server.wait_for_port(self.port, timeout=60.0)

    def stop(self) -> None:
        """End the broker; remove its data if the folder was a temporary one. Safe to call twice."""
        if self._server is not None:
            self._server.stop(timeout=20.0)
            self._server = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send the broker a signal, if it was started and has not ended."""
        if self._server is not None:
            self._server.send_signal(number)

    def kill(self) -> None:
        """End the broker at once and remove its folder, without waiting; for a process that must end now."""
        if self._server is not None:
            self._server.kill()
        if self._temporary is not None:
            shutil.rmtree(self._temporary.name, ignore_errors=True)

    def __enter__(self) -> EmbeddedKafka:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def _write_properties(folder: Path, port: int) -> Path:
    template = Template(files("hsnn.embedded").joinpath("kafka-server.properties").read_text())
    path = folder / "server.properties"
    data = folder / "data"
    path.write_text(template.safe_substitute(port=port, controller_port=free_port(), data=data))
    return path


def _format(java: list[str], properties: Path) -> None:
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    if cluster.startswith("-"):  # the tool would take it for an option
        cluster = "A" + cluster[1:]
    command = [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise EmbeddedError(f"Kafka could not format {properties.parent}: {(done.stdout + done.stderr)[-2000:]}")


def _pid_file() -> Path:
    return cache_folder() / "kafka.pid"


def _start(port: int, folder: Path | None) -> int:
    """Run a broker until interrupted; say where it is on one line of standard output."""
    if accepts(port):
        raise EmbeddedError(f"port {port} is taken; stop what listens there or choose another with --port")
    # `stop` and a service manager send SIGTERM: end as at Ctrl+C, so that the broker closes its files. Both by name: a
    # shell has its background jobs ignore SIGINT, and Python leaves it at that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    pid_file = _pid_file()
    try:
        with EmbeddedKafka(folder, port) as server:
            pid_file.write_text(str(os.getpid()))
            print(f"KAFKA_BOOTSTRAP={server.bootstrap}", flush=True)
            while server.running:
                time.sleep(0.2)
            raise EmbeddedError("the broker ended by itself")
    except KeyboardInterrupt:
        return 0
    finally:
        pid_file.unlink(missing_ok=True)


def _stop(timeout: float = 30.0) -> int:
    """End the broker that `start` runs, and wait until it is gone."""
    try:
        pid = int(_pid_file().read_text())
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        print("no embedded Kafka runs")
        return 0
    deadline = time.monotonic() + timeout
    while _pid_file().exists():
        if time.monotonic() > deadline:
            raise EmbeddedError(f"process {pid} did not end within {timeout:g} s")
        time.sleep(0.05)
    print("stopped")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: ``start``, ``stop`` or ``fetch``."""
    parser = argparse.ArgumentParser(prog="python -m hsnn.embedded.kafka", description="an Apache Kafka on loopback")
    parser.add_argument("command", choices=["start", "stop", "fetch"])
    parser.add_argument("--port", type=int, default=9092, help="port of the broker (default 9092)")
    parser.add_argument("--data", type=Path, default=None, help="folder of its data (default: a temporary one)")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "start":
            return _start(chosen.port, chosen.data)
        if chosen.command == "stop":
            return _stop()
        print(fetch())
        return 0
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
