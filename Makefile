# make demo    label the sample faces with the demo model and evaluate (FACEVLM_IMAGES=/folder: your own pictures)
# make app     open the App on the result
# make test    the whole test suite
# make test-fast     without a browser, without processes that are started, without the contracts of model families
# make test-lowest   the tests of the local backend on the lowest supported transformers
# make simulate    whether intervals hold what they should and tests err as rarely as they say; minutes
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
# A MongoDB for each process; files stay whole, since their tests share what is costly to make.
# The order is that of tests/conftest.py: what takes longest comes first.
# One process more than there are cores: a part of the time is spent on waiting for servers, disks and browsers.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PARALLEL ?= --numprocesses $(WORKERS) --maxprocesses 5 --dist loadfile --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(PARALLEL)
DURATIONS ?=

export FIFTYONE_DATABASE_VALIDATION := false
export FIFTYONE_DO_NOT_TRACK := true
export TOKENIZERS_PARALLELISM := false
# Empty is off: without bytecode on the disk every process that is started would compile all that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo app test test-fast test-lowest check format install install-dev benchmark simulate hooks build
.DEFAULT_GOAL := demo

install: $(VENV)/.runtime
install-dev: $(VENV)/.dev

# Bytecode is written by Python itself, of the few modules that are imported and not of all that are installed (see above).
PIP_INSTALL = $(PIP) $(PINS) --no-compile

$(VENV)/.runtime: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	touch $@

# In one go, and not after the above: every call of pip looks at all of the packages anew.
$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable ".[dev]"
	touch $@ $(VENV)/.runtime

demo: install
	$(BIN)/facevlm demo $(if $(FACEVLM_IMAGES),--images "$(FACEVLM_IMAGES)")

app: install
	FIFTYONE_PLUGINS_DIR="$${FIFTYONE_PLUGINS_DIR:-$(CURDIR)}" $(BIN)/fiftyone app launch $(DATASET)

test: install-dev
	$(PYTEST) $(if $(DURATIONS),--durations=$(DURATIONS))

test-fast: install-dev
	$(PYTEST) -m "not browser and not kill and not contract and not process"

# What opens a checkpoint; all else does not depend on transformers. Most of it is one file, a family's tests in a row.
test-lowest: install-dev
	$(PIP) --no-deps --no-compile --target $(LOWEST) transformers==5.20.2
	PYTHONPATH=$(LOWEST) $(PYTEST) --dist worksteal $(addprefix tests/backends/test_,families.py local.py memory.py options.py singling.py)

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

ROUNDS ?= 1000

simulate: install-dev
	$(BIN)/python -m benchmarks.simulate --rounds $(ROUNDS)

hooks: install-dev
	$(PIP) $(PINS) pre-commit
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

build:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(PINS) build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
