"""Write the OpenAPI document of the server, from which clients in other languages are generated.

python -m tools.openapi_document clients/typescript/openapi.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hsnn.monitoring.health import Health
from hsnn.serving.api.access import Access
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.ingest import IngestApi
from hsnn.serving.config import ServingConfig
from hsnn.serving.ingest.appender import EventAppender
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.mirror.mirror import Mirror
from hsnn.streaming.config import StreamingConfig
from hsnn.streaming.log.memory import MemoryLog


def document() -> dict[str, Any]:
    """Return the document of a server with all routes."""
    config, streaming, metrics, access = ServingConfig(), StreamingConfig(), ServingMetrics(), Access({})
    api, log = Api(Mirror(), config, metrics, access), MemoryLog()
    ingest = IngestApi(EventAppender(lambda: log, streaming, metrics), access, config, streaming)
    try:
        return create_app(api, metrics, Health("version"), ingest).openapi()
    finally:
        api.close()
        ingest.close()


def text() -> str:
    """Return the document as it is written."""
    return json.dumps(document(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
