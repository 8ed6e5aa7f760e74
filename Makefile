# Every target makes .venv and installs into it on first use, and again when pyproject.toml or constraints.txt change.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help shards stats ablation test soak check bench format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

shards: $(READY) ## raw video to training shards in data/shards: the sample, or ARGS="source=folder source.input=raw/"
	@$(BIN)/python -m datagen.shards $(ARGS)

stats: $(READY) ## what is in data/shards, what was lost and why; report.html and a dataset card beside them
	@$(BIN)/python -m datagen.stats $(ARGS)

ablation: $(READY) ## the tiny model with and without twins that drive: how much identity leaks
	@$(BIN)/python -m training.ablation $(ARGS)

test: $(READY) ## the test suite, offline, under 10 minutes on two cores; ARGS="-m slow" for the long ones
	@$(BIN)/python -m pytest $(ARGS)

soak: $(READY) ## the same command after 200 scripts of faults, about 20 minutes on two busy cores; SOAK_RUNS=2000 for more
	@$(BIN)/python -m pytest -m slow tests/faults $(ARGS)

check: $(READY) ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(READY) ## speed: ratios measured side by side in one run, with their parts
	@$(BIN)/python -m tests.benchmarks.journey
	@$(BIN)/python -m tests.benchmarks.stats
	@$(BIN)/python -m tests.benchmarks.animator
	@$(BIN)/python -m tests.benchmarks.loader
	@$(BIN)/python -m tests.benchmarks.trainer

format: $(READY) ## write the code in the one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove .venv and caches; data/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "error: $(PYTHON) is not Python 3.11 or 3.12; name one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "error: $(PYTHON) cannot make $(VENV): apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV) (about two minutes) ..."
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]' 2> >(grep -v "is ignored: it is" >&2)
	@touch $@
