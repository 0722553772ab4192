"""What a server needs before it answers: a socket that listens, and a certificate that can be used."""

from __future__ import annotations

import os
import socket
import ssl

from hsnn.serving.config import ServingConfig
from hsnn.serving.errors import ServerError


def check_certificate(config: ServingConfig) -> None:
    """Raise ServerError if certificate and key cannot be used; uvicorn would say so in a traceback."""
    if config.tls_cert is None or config.tls_key is None:
        return
    for name, path in (("tls_cert", config.tls_cert), ("tls_key", config.tls_key)):
        if not os.access(path, os.R_OK):
            raise ServerError(f"serving.{name} names {path}, which cannot be read; name a PEM file")
    try:
        # an empty password: without one, OpenSSL would ask on the terminal and wait
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_cert, config.tls_key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ServerError(
            f"serving.tls_cert {config.tls_cert} and serving.tls_key {config.tls_key} cannot be used ({error}); both "
            "are PEM, the key belongs to the first certificate of the chain and has no password"
        ) from error


def bind(config: ServingConfig) -> socket.socket:
    """Bind a socket to the configured address.

    Raises
    ------
    ServerError
        The address is in use, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # asyncio disables Nagle's algorithm for sockets that name TCP; otherwise every answer waits 40 ms for an ACK
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except OSError as error:
        listening.close()
        raise ServerError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror}; "
            "stop what listens there, or set serving.port (0 takes a free one)"
        ) from error
    return listening
