# Parley keeps its environment in .venv; every target makes what it needs first. ARGS is passed on:
# make run ARGS="--port 8000"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python .ci/install.py
CALL_BENCHMARKS := bench-first_clause bench-draft bench-capacity bench-soak
ENGINE_BENCHMARKS := bench-tts_cpu bench-asr_cpu bench-llm_cpu bench-gpu bench-gpu_asr

EXTRAS := extra-engines extra-quantization extra-mistral extra-mcp

.PHONY: run test lint clean $(EXTRAS) bench-call $(CALL_BENCHMARKS) $(ENGINE_BENCHMARKS)

run: $(VENV)/installed-base
	$(BIN)/parley serve $(ARGS)

test: $(VENV)/installed-test
	@$(BIN)/python -m benchmarks.far_end.browser
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python --project pyrightconfig.tests.json

$(EXTRAS): extra-%: $(VENV)/installed-base
	@$(INSTALL) $*

bench-call: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.call $(ARGS)

$(CALL_BENCHMARKS): bench-%: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.call.$* $(ARGS)

$(ENGINE_BENCHMARKS): bench-%: $(VENV)/installed-test
	$(BIN)/python -m benchmarks.engines.$* $(ARGS)

clean:
	rm -rf $(VENV) build dist out .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "Parley needs Python 3.11 or newer, $(PYTHON) is not: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c "import ensurepip" 2> /dev/null || \
		{ echo "$(PYTHON) cannot make environments: apt-get install python3-venv, or make PYTHON=... ..." >&2; exit 1; }
	@echo "Installing into $(VENV); this happens once and takes a minute or two."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed-base: pyproject.toml requirements.txt .ci/install.py | $(BIN)/python
	@$(INSTALL) base
	@touch $@

$(VENV)/installed-test: pyproject.toml requirements.txt constraints.txt .ci/install.py | $(BIN)/python
	@$(INSTALL) test
	@touch $@ $(VENV)/installed-base
