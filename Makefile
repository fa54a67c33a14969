# What people and CI share. Every target sets up the virtual environment that it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test lint bench gallery format constraints clean
.DELETE_ON_ERROR:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamp is newer than the project's own files once everything is installed as they say.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(VENV)/.installed  ## simulated beamline to volume; ARGS=--once ends by itself
	$(BIN)/tomoservice demo $(ARGS)

test: $(VENV)/.installed-dev  ## every test that takes seconds
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed-bench: pyproject.toml constraints.txt $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,bench]"
	touch $@

bench: $(VENV)/.installed-bench  ## speed against peers on this machine; ARGS=--full for the largest case
	$(BIN)/python -m tests.benchmarks $(ARGS)

gallery: $(VENV)/.installed  ## what every stage does, as a page; ARGS="OUT_DIR --data DIR"
	$(BIN)/tomoservice gallery $(ARGS)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: ## freeze what a fresh install of the newest permitted versions gives
	rm -rf $(VENV)-fresh && $(PYTHON) -m venv $(VENV)-fresh
	$(VENV)-fresh/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	{ echo "# Exact versions that make demo and make test install; renewed by make constraints."; \
	  $(VENV)-fresh/bin/python -m pip freeze --exclude-editable; } > constraints.txt
	rm -rf $(VENV)-fresh

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
