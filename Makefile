# Two targets do everything on a fresh machine: `make search` and `make test`. PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
# Processes that run tests, a file each: many tests wait for Ray, a server or a browser, so one more than two cores.
JOBS ?= 3
BIN := $(VENV)/bin
LOCK := dce_ray/cluster/requirements.txt
STAMP := $(VENV)/.installed

.PHONY: help search test lint format lock clean
.DEFAULT_GOAL := help

help:  ## the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */\1|/' | awk -F'|' '{printf "make %-8s %s\n", $$1, $$2}'
	@echo "ARGS='key=value ...' goes to the command: make search ARGS='search.num_runs=16'"

search: $(STAMP)  ## the main job on the embedded data
	$(BIN)/python -m dce_ray.search $(if $(filter baseline=% resume=%,$(ARGS)),,baseline=delu) $(ARGS)

test: $(STAMP)  ## every test; those that need data from beside the project skip with a reason
	$(BIN)/python -m pytest -q --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## the requirements that a job installs on a cluster, from pyproject.toml and constraints.txt
	test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv==0.13.9; }
	echo '# All that a search needs, pinned: what a submitted job installs. Written by make lock; do not edit.' > $(LOCK)
	build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
		--constraint constraints.txt pyproject.toml >> $(LOCK)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment and caches; data and results stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
