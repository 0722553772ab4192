"""Notifications: alarms and actions as a log line, a signed webhook, and a mail."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import smtplib
import time
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any

import httpx
import msgspec

from hsnn.monitoring.config import NotifyConfig

_log = logging.getLogger(__name__)

SIGNATURE, TIMESTAMP = "X-Hsnn-Signature", "X-Hsnn-Timestamp"
"""Headers of a webhook: ``sha256=`` and the HMAC of ``TIMESTAMP.BODY`` in hexadecimal; the time in epoch seconds."""


class Notifier:
    """Tells people by every channel that is configured; a channel that fails is logged and stops nothing.

    Parameters
    ----------
    config
    post, send_mail
        Deliver a webhook and a mail; for tests.
    """

    def __init__(
        self,
        config: NotifyConfig,
        post: Callable[..., httpx.Response] = httpx.post,
        send_mail: Callable[[str, float, EmailMessage], None] | None = None,
    ) -> None:
        self._config, self._post, self._send_mail = config, post, send_mail or _send_mail

    def __call__(self, subject: str, facts: Mapping[str, Any]) -> dict[str, str]:
        """Tell `subject`, one sentence, with JSON facts; return what went wrong, by channel."""
        _log.warning("%s", subject)
        failed: dict[str, str] = {}
        for channel, address, tell in (
            ("webhook", self._config.webhook, self._webhook),
            ("mail", self._config.smtp and self._config.mail_to, self._mail),
        ):
            if address:
                try:
                    tell(subject, facts)
                except (httpx.HTTPError, httpx.InvalidURL, OSError, smtplib.SMTPException, ValueError) as error:
                    failed[channel] = str(error) or type(error).__name__
                    _log.error("the %s to %s failed: %s", channel, address, failed[channel])
        return failed

    def _webhook(self, subject: str, facts: Mapping[str, Any]) -> None:
        body = msgspec.json.encode({"text": subject, **facts})
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", TIMESTAMP: stamp}
        if self._config.secret_env:
            secret = os.environ.get(self._config.secret_env, "")
            if not secret:
                raise ValueError(f"monitoring.notify.secret_env names {self._config.secret_env}, which is not set")
            headers[SIGNATURE] = sign(secret, stamp, body)
        self._post(self._config.webhook, content=body, headers=headers, timeout=self._config.timeout).raise_for_status()

    def _mail(self, subject: str, facts: Mapping[str, Any]) -> None:
        message = EmailMessage()
        message["Subject"] = f"hsnn: {subject}".replace("\n", " ")[:200]
        message["From"], message["To"] = self._config.mail_from, self._config.mail_to
        message.set_content(f"{subject}\n\n" + "\n".join(f"{name}: {value}" for name, value in facts.items()) + "\n")
        self._send_mail(self._config.smtp, self._config.timeout, message)


def sign(secret: str, stamp: str, body: bytes) -> str:
    """Sign a webhook.

    Examples
    --------
    >>> sign("key", "0", b"{}")[:16]
    'sha256=7314351dd'
    """
    return f"sha256={hmac.new(secret.encode(), stamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


def _send_mail(address: str, timeout: float, message: EmailMessage) -> None:
    host, _, port = address.partition(":")
    with smtplib.SMTP(host, int(port or 25), timeout=timeout) as server:
        server.send_message(message)
