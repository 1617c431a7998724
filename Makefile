# Everything a developer or a user does, with nothing but python3 and make.
# Plain `make` lists the targets.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= results/local
# To take PyTorch's small CPU build where the index offers the large one:
#   export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PIP_FLAGS ?=

BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
BENCHMARKS := .benchmarks

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test long fuzz cluster bench quick results dashboard regression check constraints clean

help: ## list the targets
	@echo 'targets (variables: PYTHON=$(PYTHON), VENV=$(VENV), OUT=$(OUT), PIP_FLAGS=$(PIP_FLAGS)):'
	@sed -n 's/^\([a-z]*\):.* ## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## make the environment in VENV, with every runtime and tool

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'error: $(PYTHON) is missing or older than 3.11; name another: make setup PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing every runtime and tool into $(VENV): a few minutes'
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet $(PIP_FLAGS) \
	  -c constraints.txt -e '.[all,build,test,dev]'
	@touch $@

test: setup ## run the tests
	store=$$(mktemp -d) && trap 'rm -rf "$$store"' EXIT && \
	export DEPLOYBENCH_TEST_STORE="$${DEPLOYBENCH_TEST_STORE:-$$store}" && \
	$(PYTEST) -q -m 'not alone and not cluster and not long' -n auto --maxprocesses 4 --dist worksteal && \
	$(PYTEST) -q -m alone

long: setup ## run the tests that CI has no time for: minutes
	$(PYTEST) -q -m 'long and not cluster'

fuzz: setup ## look for damage to files that nobody has tried: other examples each time
	DEPLOYBENCH_FUZZ=1 $(PYTEST) -q tests/export/anatomy/test_damaged_files.py tests/export/test_hostile_files.py

cluster: setup ## run the tests that need a Ray cluster of several nodes: minutes
	$(PYTEST) -q -m cluster

bench: setup ## the main job: build, measure, write the tables into OUT
	$(BIN)/python -m bench.run --suite default --out '$(OUT)'

quick: setup ## the same without the large VGG-19s, one block each: two to three minutes
	$(BIN)/python -m bench.run --quick --out '$(OUT)'

results: setup ## every recipe, then every runtime, into results/: what is committed
	$(BIN)/python -m bench.run --suite full --out results
	$(BIN)/python -m bench.run --suite runtimes --out results \
	  --variants 'vgg19,xception,xception-gap,revisited-*'

dashboard: setup ## serve the page where a picture is uploaded, until Ctrl-C
	$(BIN)/python -m bench.dashboard --records results

# The first run of a host is its baseline; remove $(BENCHMARKS) to take a new one.
# A slow-down fails only if a second, fresh process sees it as well.
REGRESSION := $(PYTEST) -q tests/regression --benchmark-enable --benchmark-only \
  --benchmark-autosave --benchmark-storage=$(BENCHMARKS) --benchmark-columns=median,iqr,rounds
regression: setup ## compare small artifacts with this host's baseline; fail if one is proven slower
	$(REGRESSION) || $(REGRESSION) --last-failed --last-failed-no-failures=none

check: setup ## lint, types, import rules and documentation, as CI does
	$(BIN)/python -m tox run -e lint,types,imports,docs

constraints: ## write constraints.txt anew from a clean environment (PyTorch's pin stays)
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	grep '^torch==' constraints.txt > $$folder/torch.txt && \
	$(PYTHON) -m venv $$folder/venv && \
	PIP_CONSTRAINT=$$folder/torch.txt $$folder/venv/bin/python -m pip install --quiet $(PIP_FLAGS) \
	  hatchling '.[all,build,test,dev]' && \
	{ grep '^#' constraints.txt; $$folder/venv/bin/python -m pip freeze --exclude deploybench | sed 's/+cpu$$//'; } \
	  > $$folder/constraints.txt && cp $$folder/constraints.txt constraints.txt

clean: ## remove what was built and installed; results and baselines stay
	rm -rf $(VENV) .tox build dist *.egg-info .coverage .coverage.* \
	  .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
