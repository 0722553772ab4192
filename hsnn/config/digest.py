"""The effective values of a configuration with secrets masked, and the SHA-256 digest of them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from hsnn.config.keys import flatten, keys
from hsnn.config.masking import mask_value


def effective(config: BaseModel) -> dict[str, Any]:
    """Return the value of every key by dotted name, as JSON values, secrets masked."""
    known = {key.name: key for key in keys(type(config))}
    values = flatten(config.model_dump(mode="json"), known)
    return {name: mask_value(name, value) for name, value in values}


def config_digest(config: BaseModel) -> str:
    """Compute the SHA-256 of `effective` in hexadecimal; equal on every machine, whatever the secrets."""
    return hashlib.sha256(json.dumps(effective(config), sort_keys=True).encode()).hexdigest()
