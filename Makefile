# make demo and make test are the two commands to know; each sets up all it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECONDS ?= 30

.PHONY: install lock
install: $(VENV)/.installed

lock: ## writes both lock files anew from pyproject.toml, hash-pinned, without any address in them
	uv pip compile pyproject.toml --extra local --extra build $(LOCK_FLAGS) -o requirements.lock
	uv pip compile pyproject.toml --extra local --extra build --extra dev -c requirements.lock $(LOCK_FLAGS) -o requirements-dev.lock
LOCK_FLAGS := --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet
