"""Why a Kafka client cannot connect: the error says which of TLS, certificate, login or address is wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from hsnn.streaming.errors import LogUnavailableError
from hsnn.streaming.log.open import open_log

Answer = Callable[[socket.socket], object]


def serve(answer: Answer) -> socket.socket:
    """Listen on loopback and pass each connection to `answer`, on a thread of its own."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # the test closes the server
            while True:
                Thread(target=handle, args=(server.accept()[0],), daemon=True).start()

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection)

    Thread(target=accept, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate that nobody has signed, for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "broker.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-keyout", str(file), "-out", f"{file}.crt"], check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


@pytest.fixture
def tls_port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve(lambda connection: context.wrap_socket(connection, server_side=True).recv(100)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def plain_port() -> Iterator[int]:
    with serve(lambda connection: (connection.recv(100), connection.sendall(b"no TLS here"))) as server:
        yield server.getsockname()[1]


def said(port: int, options: str = "") -> str:
    with pytest.raises(LogUnavailableError) as caught:
        open_log(f"kafka://127.0.0.1:{port}?bootstrap_timeout_ms=400{options}")
    return str(caught.value)


@pytest.mark.slow
def test_plaintext_to_a_tls_port(tls_port: int) -> None:
    assert "the port speaks TLS: set security_protocol=SSL" in said(tls_port)


def test_tls_to_a_plaintext_port(plain_port: int) -> None:
    assert "the port does not speak TLS" in said(plain_port, "&security_protocol=SSL")


def test_a_certificate_of_an_unknown_authority(tls_port: int) -> None:
    assert "set ssl_cafile" in said(tls_port, "&security_protocol=SSL")


def test_a_missing_file_of_certificates(tls_port: int) -> None:
    assert "a file of ssl_cafile" in said(tls_port, "&security_protocol=SSL&ssl_cafile=/no/such/file")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert "check that the brokers run" in said(port)
