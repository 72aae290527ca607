# Everything a newcomer needs; `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
SEED ?= $(shell od -An -N3 -tu4 /dev/urandom | tr -d ' ')
# The pins are those of the tests, and so of their Python; another one gets the newest versions that fit.
CONSTRAINT := $(shell $(PYTHON) -c 'import sys; print("--constraint constraints.txt" * (sys.version_info[:2] == (3, 11)))')

.DEFAULT_GOAL := help
.PHONY: help setup demo train-demo test fuzz lint audit serve bench perf-analyzer wheels readme clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

setup: $(INSTALLED)  ## Create .venv with every console script (Python 3.11 is what is tested; PYTHON=... for another)

$(INSTALLED): pyproject.toml client/pyproject.toml demo/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(CONSTRAINT) --editable './client[cli]' --editable '.[server,dev]' --editable ./demo
	touch $@

demo: setup  ## Export the demo's checkpoint, serve it, ask it about scenes, let it drive, draw both
	$(BIN)/python -m alpamayo_demo

train-demo: setup  ## Train the demo's checkpoint anew: renders its scenes, goes on where it was interrupted
	$(BIN)/python -m alpamayo_demo.train

test: setup  ## Run every test
	$(BIN)/python -m pytest

fuzz: setup  ## Send random requests to a real server until one is answered wrongly, or Ctrl-C; SEED=... to repeat
	FUZZ_SEED=$(SEED) $(BIN)/python -m pytest tests/end_to_end/test_fuzz.py --quiet --capture=no

lint: setup  ## Style, types, and dependencies that fit together
	$(BIN)/python -m pip check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for model in model_repository/*/1/model.py benchmarks/handover_models/*/1/model.py; do $(BIN)/mypy $$model || exit 1; done

audit: setup  ## Look the pinned dependencies up among known vulnerabilities (needs a network)
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet pip-audit
	.audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip || { echo "make audit: not passed: a vulnerability, or packages that could not be looked up at PyPI (see above)" >&2; exit 1; }

serve: setup  ## Serve an exported repository: make serve REPO=...
	@test -n "$(REPO)" || { echo "make serve: say which repository: make serve REPO=path/to/repository" >&2; exit 2; }
	$(BIN)/alpamayo-serve $(REPO)

bench: setup  ## Measure latency on this machine, with the test checkpoint
	$(BIN)/python benchmarks/latency.py

perf-analyzer: setup  ## Fetch NVIDIA's load generator into .perf-analyzer, for benchmarks/load.py
	$(BIN)/python benchmarks/perf_analyzer.py

wheels: setup  ## Fetch into wheels/ what benchmarks/on_a_gpu.py installs where there is no network
	$(BIN)/python benchmarks/wheels.py

readme: setup  ## Write the README's tables from benchmarks/results
	$(BIN)/python benchmarks/readme.py

clean:  ## Remove .venv and everything that was made
	rm -rf .venv .audit .perf-analyzer wheels out
