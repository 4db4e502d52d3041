# Every target sets up what it needs from python3, make and git alone.

PYTHON ?= python3
VENV := .venv
CORE := .venv-core
MODELS := .venv-models
PEERS := .venv-bench
FASTER_WHISPER := .venv-faster-whisper
FASTRTC := .venv-fastrtc
REALTIMESTT := .venv-realtimestt
MUTANTS := .venv-mutants
BIN := $(VENV)/bin
CONSTRAINTS := requirements/constraints.txt
UV_VERSION := 0.13.9
comma := ,
# All but those of models, which have an environment of their own.
EXTRAS := local,av,bench,cli,discord,fastapi,microphone,notebook,openai,opentelemetry,prometheus,ray,wyoming
PORT ?= 8004
# A process for each core; a file's tests stay together, as they share what takes long to make.
PYTEST := python -m pytest -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo serve test check guard guard-update lint types test-core test-models test-ray docs docs-serve dist bench bench-peers bench-whisper \
	bench-chatterbox bench-ray gpu soak mutants fixture constraints clean

help: ## show this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@echo "setting up $(VENV) (about half a minute, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -c $(CONSTRAINTS) -e ".[$(EXTRAS)]" --group dev
	@touch $@

# The core alone, without any extra: what `pip install realtime-stts` gives.
$(CORE)/.ready: $(VENV)/.ready
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(CORE)
	$(BIN)/uv pip install -q --python $(CORE)/bin/python -c $(CONSTRAINTS) -e . --group test
	@touch $@

# The models' own packages, which agree on one torch: 6 GB.
$(MODELS)/.ready: $(VENV)/.ready requirements/models.in requirements/models.txt
	@echo "setting up $(MODELS) (6 GB, once)"
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(MODELS)
	$(BIN)/uv pip install -q --python $(MODELS)/bin/python -c requirements/models.txt \
		-e ".[local,bench,cli,notebook,whisper,chatterbox]" --group test -r requirements/models.in
	@touch $@

# Ours and the peers of the benchmarks in one environment, so that one process can run both.
$(PEERS)/.ready: $(VENV)/.ready requirements/bench.in requirements/bench.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(PEERS)
	$(BIN)/uv pip install -q --python $(PEERS)/bin/python -c requirements/bench.txt \
		-e ".[local]" -r requirements/bench.in
	@touch $@

# But not this one: two native engines in one process slow each other.
$(FASTER_WHISPER)/.ready: $(VENV)/.ready requirements/faster-whisper.in requirements/faster-whisper.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(FASTER_WHISPER)
	$(BIN)/uv pip install -q --python $(FASTER_WHISPER)/bin/python -c requirements/faster-whisper.txt \
		-r requirements/faster-whisper.in
	@touch $@

# Nor these: one wants older packages than the other peers, and one torch and a C compiler.
$(FASTRTC)/.ready: $(VENV)/.ready requirements/fastrtc.in requirements/fastrtc.txt
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(FASTRTC)
	$(BIN)/uv pip install -q --python $(FASTRTC)/bin/python -c requirements/fastrtc.txt -r requirements/fastrtc.in
	@touch $@

$(REALTIMESTT)/.ready: $(VENV)/.ready requirements/realtimestt.in requirements/realtimestt.txt
	@echo "setting up $(REALTIMESTT) (5 GB, once)"
	@command -v cc >/dev/null && echo '#include <portaudio.h>' | cc -E -x c - >/dev/null 2>&1 || \
		{ echo "RealtimeSTT builds PyAudio, which needs: apt-get install gcc libc6-dev portaudio19-dev"; exit 1; }
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(REALTIMESTT)
	$(BIN)/uv pip install -q --python $(REALTIMESTT)/bin/python -c requirements/realtimestt.txt \
		-r requirements/realtimestt.in
	@touch $@

$(MUTANTS)/.ready: $(VENV)/.ready
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(MUTANTS)
	$(BIN)/uv pip install -q --python $(MUTANTS)/bin/python -c $(CONSTRAINTS) -e . --group mutation
	@touch $@

demo: $(VENV)/.ready ## hold a spoken conversation; leaves out/demo/
	$(BIN)/realtime-stts demo

serve: $(VENV)/.ready ## the server of examples/fastapi_server and its page, on this machine alone; PORT=8004
	REALTIME_STTS_PATHS__OUTPUT=out/serve PYTHONPATH=examples $(BIN)/python -m fastapi_server --port $(PORT)

test: $(VENV)/.ready ## run every test but those of models and clusters
	$(BIN)/$(PYTEST) -m "not cluster"

check: lint types docs guard test-core test-models test-ray test ## everything CI holds a change to

guard: $(VENV)/.ready ## count the instructions of the core's work; more than a tenth above the baseline fails
	$(BIN)/python -m benchmarks.guard $(GUARD)

guard-update: $(VENV)/.ready ## accept the counts as they are: the new baseline of this build of Python
	$(BIN)/python -m benchmarks.guard --update

lint: $(VENV)/.ready ## style, import rules, and the container's files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/hadolint examples/fastapi_server/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec examples/fastapi_server/compose.yaml

types: $(VENV)/.ready ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright

test-core: $(CORE)/.ready ## the tests again with no extra installed
	$(CORE)/bin/$(PYTEST)

# The others run again because this is where NumPy is 1.26.
test-models: $(MODELS)/.ready ## the tests of what runs in torch
	$(MODELS)/bin/$(PYTEST) -m "not full_size" tests/engines/whisper tests/engines/chatterbox \
		tests/engines/test_device.py tests/engines/test_linear.py tests/cli/test_app.py tests/cli/test_chatterbox.py \
		tests/cli/test_download.py tests/cli/test_env.py tests/cli/test_whisper.py \
		$(wildcard tests/test_*.py tests/engines/test_isolated*.py) tests/voices tests/examples/test_models.py tests/examples/test_notebooks.py
	$(MODELS)/bin/python -m pytest -m full_size tests/engines/chatterbox/test_full_size.py tests/cli/test_chatterbox.py

# One process: a cluster takes the machine's cores, and a gigabyte and a half.
test-ray: $(VENV)/.ready ## the tests on a Ray cluster of two nodes, both of them here
	$(BIN)/python -m pytest -m cluster tests/integrations/ray tests/cli/test_batch_ray.py

# Material for MkDocs warns of a second MkDocs, which the pins keep away.
docs: $(VENV)/.ready ## build the docs as a site; writes out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean

docs-serve: $(VENV)/.ready ## show the docs while you write
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

dist: $(VENV)/.ready ## build wheel, sdist and SBOM, and go a newcomer's way with them; writes out/dist
	rm -rf out/dist
	$(BIN)/python -m build -q --installer uv --outdir out/dist
	$(BIN)/twine check --strict out/dist/*
	$(BIN)/python -m tools.newcomer out/dist
	$(BIN)/uv venv -q out/dist/.venv --python $(BIN)/python
	$(BIN)/uv pip install -q --python out/dist/.venv/bin/python "realtime-stts[$(EXTRAS)] @ $$(ls out/dist/*.whl)"
	$(BIN)/cyclonedx-py environment out/dist/.venv/bin/python --pyproject pyproject.toml --mc-type library \
		--short-PURLs --output-reproducible -o out/dist/realtime_stts.cdx.json
	rm -rf out/dist/.venv

# With those that have peers in an environment of their own (Python 3.11 or newer).
bench: $(VENV)/.ready $(PEERS)/.ready ## run the benchmarks; writes out/bench/
	$(BIN)/python -m benchmarks
	$(PEERS)/bin/python -m benchmarks middleware

# What cannot be set up is told of at the end, and the others are measured.
bench-peers: $(PEERS)/.ready ## the same conversations beside pipecat, LiveKit Agents, FastRTC and RealtimeSTT, and middleware beside others
	-@$(MAKE) --no-print-directory -k $(FASTRTC)/.ready $(MODELS)/.ready $(REALTIMESTT)/.ready
	$(PEERS)/bin/python -m benchmarks sessions middleware peers

bench-whisper: $(MODELS)/.ready $(FASTER_WHISPER)/.ready ## the benchmark of Whisper, beside openai-whisper and faster-whisper
	$(MODELS)/bin/python -m benchmarks whisper

bench-chatterbox: $(MODELS)/.ready ## the benchmark of Chatterbox, beside chatterbox-tts
	$(MODELS)/bin/python -m benchmarks chatterbox

bench-ray: $(VENV)/.ready ## what a hop to a Ray cluster costs, and what replicas bring; and the day of a cluster that loses some
	$(BIN)/python -m benchmarks ray
	$(BIN)/python -m benchmarks.ray_cluster

gpu: $(MODELS)/.ready ## both on a GPU; fails where torch sees none
	$(MODELS)/bin/python -m benchmarks whisper chatterbox --device cuda

soak: $(VENV)/.ready ## hold 1,000 conversations for 10 virtual minutes; writes out/bench/
	$(BIN)/python -m benchmarks.soak

mutants: $(MUTANTS)/.ready ## change the pure core in small ways; the tests must notice
	$(MUTANTS)/bin/python -m benchmarks.mutants

fixture: $(MODELS)/.ready ## train the Whisper of the tests again (half an hour on two cores)
	$(MODELS)/bin/python -m tools.train_whisper_fixture

constraints: $(VENV)/.ready ## renew the pinned versions
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-annotate --no-header --no-emit-index-url \
		--upgrade $(foreach extra,$(subst $(comma), ,$(EXTRAS)) testing,--extra $(extra)) \
		--group dev --group mutation pyproject.toml -o $(CONSTRAINTS)
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-annotate --no-header --no-emit-index-url \
		--upgrade --extra local --extra bench --extra cli --extra notebook --extra whisper --extra chatterbox --group test \
		pyproject.toml requirements/models.in \
		-o requirements/models.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
		--upgrade --extra local pyproject.toml requirements/bench.in -o requirements/bench.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.10 --no-annotate --no-header --no-emit-index-url \
		--upgrade requirements/faster-whisper.in -o requirements/faster-whisper.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
		--upgrade requirements/fastrtc.in -o requirements/fastrtc.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
		--upgrade requirements/realtimestt.in -o requirements/realtimestt.txt

clean: ## remove what was set up and made
	rm -rf $(VENV) $(CORE) $(MODELS) $(PEERS) $(FASTER_WHISPER) $(FASTRTC) $(REALTIMESTT) $(MUTANTS) out
