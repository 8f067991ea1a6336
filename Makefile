# `make reproduce` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: reproduce test faults lint format clean

reproduce: $(READY)  ## Train the case study; write model, figures and pictures to one folder.
	@$(BIN)/mnist-xai reproduce $(ARGS)

test: lint  ## Lint, format check, type check, all tests, all notebooks.
	@$(BIN)/python -m pytest -n auto

faults: $(READY)  ## The long part of tests/faults: some 250 kills and 120 interruptions.
	@$(BIN)/python -m tests.faults.kills $(ARGS)
	@$(BIN)/python -m tests.faults.interrupts

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}. Try make PYTHON=python3.11")'
	@echo "Installing the pinned packages into $(VENV) (some minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs
