"""Serve metrics and health over HTTP, for processes without a web server of their own."""

from __future__ import annotations

import json
import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from hsnn.monitoring.errors import HsnnError
from hsnn.monitoring.health import Health

_log = logging.getLogger(__name__)

LIVE = "/healthz/live"
READY = "/healthz/ready"
METRICS = "/metrics"


class PortTakenError(HsnnError):
    """The address for metrics and health is in use or not of this machine."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], health: Health, registry: CollectorRegistry) -> None:
        super().__init__(address, _Handler)
        self.health = health
        self.registry = registry

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the signature is fixed
        """Log what fails; that a client has gone is no failure."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("a request for metrics or health from %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # seconds: an idle client must not hold a thread for ever

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == METRICS:
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._respond(200, content_type, encode(self.server.registry))
        elif path in (LIVE, READY):
            healthy, detail = self.server.health.liveness() if path == LIVE else self.server.health.readiness()
            self._respond(
                200 if healthy else 503, "application/json", json.dumps({"ok": healthy, "detail": detail}).encode()
            )
        else:
            self._respond(404, "text/plain", f"no such page; there are {METRICS}, {LIVE}, {READY}\n".encode())

    def _respond(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: health probes come every second."""


def start_http(host: str, port: int, health: Health, registry: CollectorRegistry = REGISTRY) -> int:
    """Serve ``/metrics``, ``/healthz/live`` and ``/healthz/ready`` from a daemon thread until the process ends.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    health
        Answers the two health pages: 200 if healthy, else 503, with the detail as JSON.

    Returns
    -------
    int
        The port that is listened on.

    Raises
    ------
    PortTakenError
        The address is in use or not of this machine.
    """
    try:
        server = _Server((host, port), health, registry)
    except OSError as error:
        raise PortTakenError(
            f"cannot serve metrics and health on {host}:{port}: {error.strerror}; "
            "stop what listens there or set another port in the section [monitoring] (0 takes a free one)"
        ) from error
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_address[1])
