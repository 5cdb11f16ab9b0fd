# make demo    label the sample faces with the demo model and evaluate (FACEVLM_IMAGES=/folder: your own pictures)
# make app     open the App on the result
# make test    the whole test suite
# make test-lowest   the tests of the local backend on the lowest supported transformers
# make check   ruff, mypy, import-linter
# make hooks   checks before every commit and push
# make build   what a release uploads, in dist/, looked over by twine
# Python and the folder of the virtual environment can be chosen: make demo PYTHON=python3.12 VENV=/path

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PINS := --constraint constraints.txt
DATASET ?= facevlm-demo
LOWEST := $(VENV)/lowest
# A process per core and a MongoDB for each; files stay whole, since their tests share what is costly to make.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

export FIFTYONE_DATABASE_VALIDATION := false
export FIFTYONE_DO_NOT_TRACK := true
export TOKENIZERS_PARALLELISM := false

.PHONY: demo app test test-lowest check format install install-dev benchmark hooks build
.DEFAULT_GOAL := demo

install: $(VENV)/.runtime
install-dev: $(VENV)/.dev

$(VENV)/.runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(PINS) torch
	$(PIP) $(PINS) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) $(PINS) --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/facevlm demo $(if $(FACEVLM_IMAGES),--images "$(FACEVLM_IMAGES)")

app: install
	FIFTYONE_PLUGINS_DIR="$${FIFTYONE_PLUGINS_DIR:-$(CURDIR)}" $(BIN)/fiftyone app launch $(DATASET)

test: install-dev
	$(BIN)/python -m pytest $(PARALLEL)

test-lowest: install-dev
	$(PIP) --no-deps --target $(LOWEST) transformers==5.20.2
	PYTHONPATH=$(LOWEST) $(BIN)/python -m pytest tests/backends

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: install-dev
	$(BIN)/python -m benchmarks.throughput

hooks: install-dev
	$(PIP) $(PINS) pre-commit
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

build:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(PINS) build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
