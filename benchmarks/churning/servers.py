"""A server that has vector sets: Redis 8 or newer, whose binary REDIS_SERVER names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import redis

from hsnn.embedded.process import Supervised, free_port
from streaming.redis_client import Redis, connect


class NoVectorSetsError(RuntimeError):
    """There is no such server here; the text says why."""


class VectorServer:
    """Start it, use the client that `start` returns, stop it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hsnn-vectors-")
        self._server: Supervised | None = None

    def start(self) -> Redis:
        """Start the server and make sure that it has vector sets.

        Raises
        ------
        NoVectorSetsError
            REDIS_SERVER is not set, or names a server without the command VADD.
        """
        binary = os.environ.get("REDIS_SERVER")
        if not binary:
            raise NoVectorSetsError("REDIS_SERVER names no server; point it at the binary of a Redis 8")
        port, folder = free_port(), self._folder.name
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "no"]
        self._server = Supervised([binary, *options], Path(folder, "server.log"))
        self._server.wait_for_port(port, timeout=20.0)
        client = connect(f"redis://127.0.0.1:{port}/0")
        try:
            client.execute_command("VCARD", "items")
        except redis.ResponseError as error:
            version = client.info("server")["redis_version"]
            self.stop()
            raise NoVectorSetsError(f"{binary} (version {version}) has no vector sets: {error}") from error
        return client

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._server is not None:
            self._server.stop()
        self._folder.cleanup()
