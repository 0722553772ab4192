"""Mask passwords, tokens and other secrets in configuration values."""

from __future__ import annotations

import re
from typing import Any

from hsnn.streaming.log.open import mask_secrets

# Shown in place of a secret.
MASK = "***"

# Last words of the names whose values are secrets.
_SECRET_NAME = re.compile(r"(?i)(?:^|[._-])(?:password|secret|token|passphrase)$")


def mask_address(text: str) -> str:
    """Mask the passwords in a URL; return any other text unchanged.

    Examples
    --------
    >>> mask_address("redis://me:pa55@host:6379/0"), mask_address("10s")
    ('redis://me:***@host:6379/0', '10s')
    """
    masked = mask_secrets(text) if "://" in text else text
    return masked if MASK in masked else text


def mask_value(name: str, value: Any) -> Any:
    """Mask the value of the key `name` where its name or its text marks a secret; tables entry by entry.

    Examples
    --------
    >>> mask_value("redis.password", "pa55"), mask_value("redis.password", ""), mask_value("trainer.seed", 3)
    ('***', '', 3)
    """
    if isinstance(value, str):
        return MASK if value and _SECRET_NAME.search(name) else mask_address(value)
    if isinstance(value, dict):
        return {inner: mask_value(inner, entry) for inner, entry in value.items()}
    return value
