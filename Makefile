# Every target sets up what it needs. `make demo` and `make test` are all a newcomer has to know.
PYTHON ?= python3
TEST_PROCESSES ?= 3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PREFECT_HOME ?= $(CURDIR)/.sgpo/prefect
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export MLFLOW_DISABLE_TELEMETRY = true
export DVC_NO_ANALYTICS = 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM = false
# Threads that spin while they wait make torch many times slower on a shared machine.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: setup demo test lint bench clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 13) else "sgpo needs Python 3.11 or 3.12 (set PYTHON=...)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.3,<27"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ops,dev]"
	touch $@

demo: setup
	$(BIN)/python -m flows.demo

# Most tests wait for servers and processes: several at once. One thread each, so that they do not fight over the cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: setup
	$(BIN)/python benchmarks/rollouts.py
	$(BIN)/python benchmarks/verifier.py

clean:
	rm -rf .venv .sgpo runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
