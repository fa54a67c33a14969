# What people and CI share. Every target sets up the virtual environment that it needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Tests are spread over so many processes, file by file; each starts for itself what its tests share.
WORKERS ?= 2

.PHONY: demo page test test-long lint bench gallery screenshots format constraints clean
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

# The web page is built where npm is at hand; without it the service says what is missing.
WEB := tomoservice/web
NPM := $(shell command -v npm)

ifneq ($(NPM),)
PAGE := $(WEB)/.built
endif

$(WEB)/.installed: $(WEB)/package.json $(WEB)/package-lock.json $(WEB)/.npmrc
	cd $(WEB) && $(NPM) ci --silent && touch .installed || \
		echo "npm cannot get the page's packages: the web page is not built"

$(WEB)/.built: $(WEB)/.installed docs/reference/openapi.json $(WEB)/index.html $(WEB)/vite.config.ts $(WEB)/tsconfig.json \
		$(wildcard $(WEB)/public/*) $(shell find $(WEB)/src -type f)
	cd $(WEB) && { test ! -e .installed || { $(NPM) run --silent build && touch .built; }; }

page: $(PAGE)  ## the web page, if npm is at hand
	@test -n "$(NPM)" || echo "npm is not at hand: the web page is not built (install Node 20 or newer)"

demo: $(VENV)/.installed $(PAGE)  ## simulated beamline to volume; ARGS=--once ends by itself
	$(BIN)/tomoservice demo $(ARGS)

test: $(VENV)/.installed-dev $(PAGE)  ## every test that takes seconds
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder $(ARGS)

test-long: $(VENV)/.installed-dev  ## the tests that take minutes, one after the other
	$(BIN)/python -m pytest -m long --timeout=1800 $(ARGS)

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

screenshots: $(VENV)/.installed-dev $(PAGE)  ## pictures of the web page for the documentation; needs Chromium
	PYTHONPATH=. $(BIN)/python docs/page_pictures.py

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
	rm -rf $(VENV) $(WEB)/node_modules $(WEB)/dist $(WEB)/.built $(WEB)/.installed .pytest_cache .mypy_cache .ruff_cache .hypothesis
