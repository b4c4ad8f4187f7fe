# Everything starts with `setup`, which does nothing when nothing changed. It takes Python 3.11 or later, npm and a C compiler.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help setup demo test test-all check format bench picture lock clean

help:
	@echo "make demo      set everything up, then run the main job on real input"
	@echo "make test      set everything up, then run the tests"
	@echo "make test-all  run the slow tests too"
	@echo "make check     linters, formatting, types, the layers of imports"
	@echo "make format    put the code into its format"
	@echo "make bench     measure, beside Dask, Ray and Tahoe-LAFS, into benchmarks/results/"
	@echo "make picture   run the demonstration and draw it, as docs/demo.svg"
	@echo "make lock      pin anew what pyproject.toml and package.json ask for"
	@echo "make clean     remove what setup and the tools made here"

setup: .venv/.installed node_modules/.installed

# The locks are whole, so nothing is resolved at setup: a package released since cannot get in its way.
.venv/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Surge needs Python 3.11 or later on the PATH, or make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "installing the Python packages into .venv: about a minute, once"
	$(PYTHON) -m venv .venv
	$(PIP) install --require-hashes --no-deps --requirement requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.installed-bench: requirements-bench.lock .venv/.installed
	@echo "installing what Surge is measured beside into .venv: about a minute, once"
	$(PIP) install --require-hashes --no-deps --requirement requirements-bench.lock
	@touch $@

.venv-tahoe/.installed: requirements-tahoe.lock
	@echo "installing Tahoe-LAFS, which stored files are measured beside, into .venv-tahoe: about a minute, once"
	$(PYTHON) -m venv .venv-tahoe
	.venv-tahoe/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps --requirement requirements-tahoe.lock
	@touch $@

node_modules/.installed: package.json package-lock.json .npmrc
	@echo "installing the ledger, anvil, into node_modules: some seconds, once"
	npm install --no-save
	@touch $@

demo: setup
	$(BIN)/surge demo

# More processes than a small machine has cores, since most tests wait more than they work. A file stays in one: its network starts once.
SPREAD := -n 6 --dist loadfile --no-loadscope-reorder

test: setup
	$(BIN)/python -m pytest $(SPREAD) -m "not slow"

test-all: setup
	$(BIN)/python -m pytest $(SPREAD)

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup .venv/.installed-bench .venv-tahoe/.installed
	$(BIN)/python -m benchmarks

# Hashes and no index: whoever installs takes the files from the index they trust, and gets these or nothing.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

picture: setup
	$(BIN)/python docs/picture.py

lock: setup
	$(PIP) install uv==0.13.9
	$(COMPILE) pyproject.toml --group dev --output-file requirements.lock
	$(COMPILE) --group bench --constraint requirements.lock --output-file requirements-bench.lock
	$(COMPILE) --group tahoe --output-file requirements-tahoe.lock
	npm install --package-lock-only

clean:
	rm -rf .venv .venv-tahoe node_modules dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
