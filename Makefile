# Every target sets up what it needs from python3, make and git alone.

PYTHON ?= python3
VENV := .venv
CORE := .venv-core
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types test-core bench constraints clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(VENV) (about half a minute, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install -q --python $(BIN)/python -c $(CONSTRAINTS) -e ".[local,cli,microphone]" --group dev
	@touch $@

# The core alone, without any extra: what `pip install realtime-stts` gives.
$(CORE)/.ready: $(VENV)/.ready
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(CORE)
	$(BIN)/uv pip install -q --python $(CORE)/bin/python -c $(CONSTRAINTS) -e . --group test
	@touch $@

demo: $(VENV)/.ready ## hold a spoken conversation; leaves out/demo/
	$(BIN)/realtime-stts demo

test: $(VENV)/.ready ## run every test
	$(BIN)/python -m pytest

check: lint types test-core test ## everything CI holds a change to

lint: $(VENV)/.ready ## style and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(VENV)/.ready ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright

test-core: $(CORE)/.ready ## the tests again with no extra installed
	$(CORE)/bin/python -m pytest

bench: $(VENV)/.ready ## run the benchmarks; writes out/bench/
	$(BIN)/python -m benchmarks

constraints: $(VENV)/.ready ## renew the pinned versions
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-annotate --no-header --no-emit-index-url \
		--upgrade --all-extras --group dev pyproject.toml -o $(CONSTRAINTS)

clean: ## remove what was set up and made
	rm -rf $(VENV) $(CORE) out
