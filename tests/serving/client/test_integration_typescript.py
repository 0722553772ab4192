"""The TypeScript client: built from the server's document, and its script asks a real server."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from threading import Thread

import pytest
import uvicorn

from hsnn.monitoring.health import Health
from hsnn.serving.api.app import Api, create_app
from hsnn.serving.config import ServingConfig
from hsnn.serving.metrics import ServingMetrics
from tests.paths import ROOT
from tests.waiting import DEADLINE, wait_until
from tools.openapi_document import text

FOLDER = ROOT / "clients" / "typescript"
SCRIPT = """
import { Client, HsnnError } from "%s";
const client = new Client(process.argv[2], { retries: 0 });
const answer = await client.retrieve({ user: "u0", k: 7, filters: { exclude: ["c0-3"] } });
const [first, second] = await client.retrieveMany([{ user: "u1", k: 2 }, { user: "u2", k: 3 }]);
const like = await client.similar({ items: ["c0-4"], k: 2 });
const lists = [await client.popular({ k: 1 }), await client.latest()];
const item = await client.item("c1-0");
const user = await client.user("u0");
const errors = [];
for (const call of [() => client.item("a/b"), () => client.retrieve({ user: "u", k: 0 }),
                    () => new Client("http://127.0.0.1:9").version()])
  await call().catch((error) => errors.push([error instanceof HsnnError, error.status, error.message]));
console.log(JSON.stringify({ items: answer.items, counts: [first, second, like, ...lists].map((a) => a.items.length),
                             item: item.id, user: user.id, version: (await client.version()).version, errors }));
"""


def test_the_document_is_that_of_the_server() -> None:
    assert (FOLDER / "openapi.json").read_text() == text(), "the interface has changed: make client"


def test_the_script_is_that_of_the_sources() -> None:
    digest = hashlib.sha256()
    for name in ("openapi.json", "src/index.ts"):
        digest.update((FOLDER / name).read_bytes())
    first = (FOLDER / "dist" / "index.js").open().readline()
    assert digest.hexdigest() in first, "its sources were changed and not built: make client"


@pytest.fixture
def server(mirror) -> Iterator[str]:
    """Address of a server that answers from the plant's mirror."""
    metrics = ServingMetrics()
    app = create_app(Api(mirror, ServingConfig(), metrics), metrics, Health("version"))
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = Thread(target=running.run, daemon=True)
    thread.start()
    wait_until(lambda: running.started)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join(DEADLINE)


@pytest.mark.slow
def test_it_asks_a_server_and_says_its_errors(server: str, tmp_path) -> None:
    node = shutil.which("node")
    if node is None:
        if os.environ.get("REQUIRE_NODE") == "1":
            pytest.fail("REQUIRE_NODE is 1 and there is no node")
        pytest.skip("no Node to run the TypeScript client: install Node 18 or newer")
    script = tmp_path / "asks.mjs"
    script.write_text(SCRIPT % (FOLDER / "dist" / "index.js"))
    said = subprocess.run([node, script, server], capture_output=True, text=True, timeout=100)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    assert set(found["items"]) <= {f"c0-{number}" for number in range(4, 10)} | set(found["items"][6:])
    assert found["counts"] == [2, 3, 2, 1, 20]
    assert (found["item"], found["user"], found["version"]) == ("c1-0", "u0", 1)
    assert [error[:2] for error in found["errors"]] == [[True, 404], [True, 422], [True, 0]]
    assert "a/b" in found["errors"][0][2]
    assert "does not answer" in found["errors"][2][2]
