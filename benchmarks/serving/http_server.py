"""A server of a planted catalogue at its defaults, for `benchmarks.serving.over_http`; prints its port when it is warm.

Runs as a script of any checkout that is on the path, so that two can be compared.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

from benchmarks.serving.planted_mirror import plant
from hsnn.monitoring.health import Health
from hsnn.monitoring.process.gil import shorten_switch_interval
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.api.server import uvicorn_config
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from hsnn.serving.sync.warm_up import warm_up
from hsnn.trainer.compiled import engine_available
from hsnn.trainer.threads import use_threads


def main(items: int, users: int, seed: int) -> None:
    use_threads(1)
    shorten_switch_interval()
    config, metrics, health = ServingConfig(), ServingMetrics(), Health("benchmark")
    mirror = plant(items, users, seed).mirror(engine=config.engine and engine_available())
    warm_up(mirror)
    app = create_app(Api(mirror, config, metrics), metrics, health)
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn_config(app, config, metrics)).run(sockets=[listening])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
