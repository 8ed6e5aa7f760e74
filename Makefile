# Every target makes .venv and installs into it on first use, and again when pyproject.toml or constraints.txt change.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FACEFUSION := data/facefusion-env
FACEFUSION_NEEDS := datagen/swap/facefusion/requirements.txt
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help shards stats ablation facefusion-env test soak check bench format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

shards: $(READY) ## raw video to training shards in data/shards: the sample, or ARGS="source=folder source.input=raw/"
	@$(BIN)/python -m datagen.shards $(ARGS)

stats: $(READY) ## what is in data/shards, what was lost and why; report.html and a dataset card beside them
	@$(BIN)/python -m datagen.stats $(ARGS)

ablation: $(READY) ## the tiny model with and without twins that drive: how much identity leaks
	@$(BIN)/python -m training.ablation $(ARGS)

facefusion-env: $(FACEFUSION)/.ready ## an interpreter for swap=facefusion in data/facefusion-env, several gigabytes

test: $(READY) ## the test suite, offline, under 10 minutes on two cores; ARGS="-m slow" for the long ones
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

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
	@$(BIN)/python -m tests.benchmarks.scale --clips 1000 10000 100000

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

# 89 packages, among them TensorFlow and torchvision, which cannot live in .venv; the model's weights come on top
$(FACEFUSION)/.ready: $(FACEFUSION_NEEDS)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "error: $(PYTHON) is not Python 3.11 or 3.12; name one: make PYTHON=python3.11 facefusion-env" >&2; exit 2; }
	@test -x $(FACEFUSION)/bin/pip || $(PYTHON) -m venv $(FACEFUSION) \
		|| { rm -rf $(FACEFUSION); echo "error: $(PYTHON) cannot make a venv: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing into $(FACEFUSION) (several gigabytes) ..."
	@$(FACEFUSION)/bin/python -m pip install --quiet -r $(FACEFUSION_NEEDS)
	@$(FACEFUSION)/bin/python -c 'import tensorflow, torch, torchvision, modelscope.pipelines'
	@touch $@
