.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 3001
RYTASK_DATA_DIR ?= .rytask
TESTS ?= tests
export PORT RYTASK_DATA_DIR

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@echo "Installing RyTask, its PostgreSQL and its tools into $(VENV), once. This takes a minute or two."
	@python3 -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(VENV)/.installed ## Run everything from nothing, with demo data: http://localhost:3001
	@exec $(BIN)/rytask up --demo

test: check ## Everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal -q $(TESTS)

check: $(VENV)/.installed ## Format, lint, types and the architecture's rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

fix: $(VENV)/.installed ## Format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Options may follow `--`, as in `make bench -- --size full`: make takes them for goals.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
BENCH += $(filter-out bench,$(MAKECMDGOALS))
$(filter-out bench,$(MAKECMDGOALS)): ;@:
endif

bench: $(VENV)/.installed ## Measure beside the bare ceiling; all, with latencies at size: make bench -- --size full
	$(BIN)/python -m bench $(BENCH)

chaos: $(VENV)/.installed ## Prove what may die: CHAOS="--size short" for the short form
	$(BIN)/python -m tests.chaos $(CHAOS)

lock: $(VENV)/.installed ## Resolve the dependencies again and write both locks
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements.lock $(UPGRADE)
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -q -o requirements-dev.lock -c requirements.lock $(UPGRADE)

clean: ## Remove the environment; data in RYTASK_DATA_DIR stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

.PHONY: help run test check fix bench chaos lock clean
