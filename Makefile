# dev   a virtual environment with everything in it, editable       demo       the digits example, a few minutes
# test  the tests            lint  ruff and mypy                     test-slow  the tests that take long
# fix   what ruff can mend   docs  the site, in docs/_build/html     test-arm   the native runner, emulated
# fuzz  100,000 damaged bundles and a minute of libFuzzer through the native loader
# make PYTHON=python3.12 dev   another interpreter                  make test ARGS='-k plugins'   some tests

PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(if $(shell command -v $(name) 2>/dev/null),$(name),)))
VENV ?= .venv
ARGS ?=
ARM_ROOT ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mobiprox/arm64/root

BIN := $(VENV)/bin
STAMP := $(VENV)/.mobiprox-dev
PLUGINS := $(wildcard plugins/*/pyproject.toml)
PACKAGES := mobiprox_core $(wildcard plugins/*/mobiprox_*)

.DEFAULT_GOAL := help
.PHONY: help dev demo test test-slow lint fix docs fuzz test-arm clean

help:
	@sed -n '1,5s/^# //p' Makefile

dev: $(STAMP)

# The build tools come first and are used for all distributions: much faster than one isolated environment for each.
$(STAMP): requirements-dev.txt constraints.txt pyproject.toml $(PLUGINS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mobiprox needs Python 3.11 or later; try: make PYTHON=python3.11 dev")'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -r requirements-dev.txt
	touch $@

demo: dev
	$(BIN)/mobiprox run examples/digits/experiment.yaml --out runs/digits

test: dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

test-slow: dev
	$(BIN)/python -m pytest -m slow -n auto --dist worksteal $(ARGS)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)

fix: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: dev
	$(BIN)/python plugins/backend_native/tests/fuzz.py

# Debian: gcc-aarch64-linux-gnu qemu-user-static binutils. The root file system, 0.5 GB, is made once.
test-arm: dev
	MOBIPROX_ARM_ROOT=$(ARM_ROOT) $(BIN)/python -m pytest plugins/backend_native/tests/arm $(ARGS)

docs: dev
	$(BIN)/sphinx-build -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
