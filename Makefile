# Every target first sets up the virtual environment, once: .venv, or the folder that HSNN_VENV names. `make help` lists
# the targets. ARGS is passed on: make demo ARGS='--log kafka', make test ARGS='tests/streaming -x'.
# Tests run in three processes, since many wait for others; one that is done takes over what waits for another.
# ARGS='-n 0' runs them in one.
SHELL := /bin/sh
VENV := $(if $(HSNN_VENV),$(HSNN_VENV),.venv)
PYTHON := "$(VENV)/bin/python"
ARGS ?=
# Tests and benchmarks start hundreds of interpreters: what is compiled is kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE
# What mypy finds out about PyTorch and the rest stays with the environment, which may outlive a clone.
export MYPY_CACHE_DIR := $(VENV)/mypy_cache
BENCHMARKS := parts.speed parts.exact parts.ids parts.workers pipeline quality checkpoint publish freshness churn kill fuzz ingest serving

.PHONY: help setup demo test test-fast crash-test lint bench bench-quality bench-pipeline bench-churn bench-serving bench-drift chaos fuzz kafka console client screenshots docs docs-site lock release clean
.DEFAULT_GOAL := help

help: ## List the targets.
	@echo "hsnn: retrieval that learns while it serves."
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22
	@echo "The environment is $(VENV) (or \$$HSNN_VENV), set up once; ARGS='...' is passed on."

setup: ## Install the project and its pinned dependencies, unless that is done.
	@HSNN_VENV="$(VENV)" sh deploy/setup.sh

demo: setup ## Run the whole loop on real events, about two minutes.
	@echo "Running: hsnn demo $(ARGS)"
	@$(PYTHON) -m hsnn demo $(ARGS)

test: setup ## Run the whole test suite, in three processes, ten to twenty minutes.
	@echo "Running the whole test suite."
	@$(PYTHON) -m pytest -n 3 --dist worksteal $(ARGS)

test-fast: setup ## Run the tests that take no more than a quarter of a second each, in three processes, one to two minutes.
	@echo "Running the fast tests."
	@$(PYTHON) -m pytest -n 3 --dist worksteal -m "not slow and not kafka" $(ARGS)

crash-test: setup ## Kill a real trainer 200 times, on Redis Streams and on Kafka; or ARGS='--kills 20 --events 50000 --log redis'.
	@echo "Running: python -m benchmarks.crash $(ARGS)"
	@$(PYTHON) -m benchmarks.crash $(ARGS)

lint: setup ## Check style, types, import layers, and the rules of the source tree.
	@echo "Checking with ruff, mypy --strict, import-linter and tools/house_rules.py."
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@"$(VENV)/bin/lint-imports"
	@$(PYTHON) -m tools.house_rules

bench: setup ## Run the benchmarks, or one: make bench ARGS='publish --items 10000', ARGS='parts.speed'.
	@for name in $(if $(ARGS),,$(BENCHMARKS)); do \
		echo "Running: python -m benchmarks.$$name"; $(PYTHON) -m benchmarks.$$name || exit 1; done
	@$(if $(ARGS),echo "Running: python -m benchmarks.$(ARGS)"; $(PYTHON) -m benchmarks.$(ARGS))

bench-quality: setup ## Measure retrieval quality: make bench-quality ARGS='--sets ml-100k --variants default --seeds 3 --jobs 2'.
	@echo "Running: python -m benchmarks.quality $(ARGS)"
	@$(PYTHON) -m benchmarks.quality $(ARGS)

bench-pipeline: setup ## Measure training from a log against training from memory: Kafka, Arrow, Redis Streams.
	@echo "Running: python -m benchmarks.pipeline $(ARGS)"
	@$(PYTHON) -m benchmarks.pipeline $(ARGS)

bench-churn: setup ## Compare with other indexes under churn: make bench-churn ARGS='--items 100000 --churn 0.1 --peers hnswlib,faiss --json FILE'.
	@echo "Running: python -m benchmarks.churn $(ARGS)"
	@$(PYTHON) -m benchmarks.churn $(ARGS)

bench-drift: setup ## Measure detection of planted drift: make bench-drift ARGS='--counted globo-news --seeds 2 --json FILE'.
	@echo "Running: python -m benchmarks.drift $(ARGS)"
	@$(PYTHON) -m benchmarks.drift $(ARGS)

bench-serving: setup ## Time one request in process beside other indexes: make bench-serving ARGS='--items 100000 --peers hnswlib,faiss --json FILE'.
	@echo "Running: python -m benchmarks.serving $(ARGS)"
	@$(PYTHON) -m benchmarks.serving $(ARGS)

chaos: setup ## Strike a whole loop for an hour: make chaos ARGS='--minutes 5 --disruptions 20 --seed 1 --log kafka --json FILE'.
	@echo "Running: python -m benchmarks.chaos $(ARGS)"
	@$(PYTHON) -m benchmarks.chaos $(ARGS)

fuzz: setup ## Send a trainer a million hostile messages: make fuzz ARGS='--messages 100000 --log redis --seed 7 --json FILE'.
	@echo "Running: python -m benchmarks.fuzz $(ARGS)"
	@$(PYTHON) -m benchmarks.fuzz $(ARGS)

kafka: setup ## Fetch Apache Kafka with Maven and run one broker on loopback until Ctrl+C.
	@echo "Running: hsnn kafka start $(ARGS)"
	@$(PYTHON) -m hsnn kafka start $(ARGS)

console: ## Build the console's page from console/src; needs Node 20 or newer.
	@echo "Building serving/console/static from console/."
	@cd console && npm ci --no-audit --no-fund --loglevel=error && npm run -s build

client: setup ## Build the TypeScript client from the server's OpenAPI document; needs Node 20 or newer.
	@echo "Building clients/typescript/dist from clients/typescript/src and openapi.json."
	@$(PYTHON) -m tools.openapi_document clients/typescript/openapi.json
	@cd clients/typescript && npm ci --no-audit --no-fund --loglevel=error && npm run -s build

screenshots: setup ## Photograph the console's pages for the documentation; needs Chromium. ARGS='FOLDER --url URL'.
	@echo "Running: python -m tools.screenshots $(ARGS)"
	@$(PYTHON) -m tools.screenshots $(ARGS)

docs: setup ## Rewrite the generated parts of the documentation.
	@echo "Rewriting docs/api.md and the tables of docs/configuration.md and docs/benchmarks.md."
	@$(PYTHON) -m hsnn.config.render docs/configuration.md
	@$(PYTHON) -m benchmarks.tables
	@$(PYTHON) -m tools.api_reference docs/api.md

docs-site: setup ## Build the documentation as a site in build/site; broken links and anchors are errors.
	@echo "Building build/site from docs/, README, CONTRIBUTING and CHANGELOG."
	@NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --quiet $(ARGS)
	@echo "Open build/site/index.html."

lock: setup ## Pin the dependencies of pyproject.toml again; needs uv.
	@echo "Writing requirements.lock."
	@uv pip compile --universal --python-version 3.11 --extra dev -q --no-annotate --no-header --no-emit-index-url \
		pyproject.toml -o requirements.lock

release: setup ## Check that this commit can be released, and make wheel, image context, Helm chart, SBOM and checksums in dist; ARGS=--check.
	@echo "Running: python -m tools.release $(ARGS)"
	@$(PYTHON) -m tools.release $(ARGS)

clean: ## Remove environment, caches and build folders from this clone.
	@echo "Removing .venv, caches and build folders."
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
