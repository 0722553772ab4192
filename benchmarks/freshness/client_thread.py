"""A thread that calls the server again and again."""

from __future__ import annotations

from abc import abstractmethod
from threading import Event, Thread

from hsnn.serving.client.client import Client


class ClientThread(Thread):
    """Makes a `call_once` every `pause` seconds until `end`; an exception is kept in `error`.

    Attributes
    ----------
    client : Client
    error : Exception or None
    """

    def __init__(self, name: str, server: str, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self.client, self._pause, self._ended = Client(server, timeout=30.0), pause, Event()
        self.error: Exception | None = None

    def run(self) -> None:
        """Call until `end`."""
        try:
            while not self._ended.wait(self._pause):
                self.call_once()
        except Exception as error:
            self.error = error
        finally:
            self.client.close()

    @abstractmethod
    def call_once(self) -> None:
        """Call the server once."""

    def end(self) -> None:
        """Stop, and wait for the call that is under way."""
        self._ended.set()
        self.join(30.0)
