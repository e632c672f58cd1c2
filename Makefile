# `make demo` and `make test` are the two commands to know; each sets up all it needs.

VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 30
EXIT ?=
NAME ?= drill
PIPELINES ?= 200
FAULTS_SEED ?= 1
FAULTS_SECONDS ?= 1800
FUZZ_SEED ?=
FUZZ_SECONDS ?= 600
FULL := PYTHONPATH=tests:tests/e2e $(BIN)/python -m full
LOCK_FLAGS := --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo test check unit integration e2e e2e-full faults fuzz generate bench format lock clean

help: ## say what can be made
	@grep -hE '^[a-z0-9 -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make .venv/bin/eventpipeline from the hash-pinned lock

demo: $(VENV)/.installed ## run a pipeline, send it the real load, check that every event is counted once (SECONDS=30 EXIT=1)
	$(BIN)/eventpipeline demo --seconds $(SECONDS) $(if $(EXIT),--exit)

test: $(VENV)/.developed tools ## everything that is checked, tier by tier, each with its time
	@$(BIN)/python scripts/tiers.py

check: $(VENV)/.developed ## format, lint, types and layers
	@$(BIN)/python scripts/tiers.py check

unit integration e2e: $(VENV)/.developed tools ## one tier of the tests; e2e is on a real Kubernetes
	@$(BIN)/python scripts/tiers.py $@

e2e-full: $(VENV)/.developed ## what takes too long for CI: faults of pods under load, backups, memory, 200 pipelines (PIPELINES=200)
	@$(FULL).pods --seed $(FAULTS_SEED) --nats-servers 1 --document docs/guarantees.md
	@$(FULL).pods --seed $(FAULTS_SEED) --nats-servers 3 --document docs/guarantees.md
	@$(FULL).backup
	@$(FULL).pressure
	@$(FULL).many_pipelines --pipelines $(PIPELINES)

faults: $(VENV)/.developed tools ## half an hour of faults; every event must be counted once (FAULTS_SEED=1 FAULTS_SECONDS=1800)
	@PYTHONPATH=tests $(BIN)/python -m faults --seed $(FAULTS_SEED) --seconds $(FAULTS_SECONDS) --gates --document docs/guarantees.md

fuzz: $(VENV)/.developed ## ten minutes of requests that nobody should send, to every endpoint (FUZZ_SECONDS=600 FUZZ_SEED=)
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

generate: $(VENV)/.developed ## write every generated file anew
	$(BIN)/python scripts/generate.py
	$(BIN)/python -m eventpipeline_operator.generate

bench: $(VENV)/.developed ## one benchmark (NAME=drill); see benchmarks/README.md
	@$(BIN)/python -m benchmarks.$(NAME)

format: $(VENV)/.developed ## put every file into the project's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## write both lock files anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra local --extra build $(LOCK_FLAGS) -o requirements.lock
	uv pip compile pyproject.toml --extra local --extra build --extra operator --extra dev -c requirements.lock $(LOCK_FLAGS) -o requirements-dev.lock
	uv pip compile pyproject.toml --extra operator --extra build -c requirements.lock $(LOCK_FLAGS) -o requirements-operator.lock

clean: ## remove the virtual environment and every cache
	rm -rf $(VENV) .coverage* htmlcov .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: tools
tools:
	@scripts/browser.sh
	@scripts/prometheus.sh
	@scripts/faketime.sh
	@scripts/postgres-tls.sh

$(VENV)/.installed: requirements.lock pyproject.toml scripts/install.sh
	scripts/install.sh $(VENV) requirements.lock
	@touch $@

$(VENV)/.developed: requirements-dev.lock pyproject.toml scripts/install.sh
	scripts/install.sh $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/.installed
