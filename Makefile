# `make reproduce` and `make test` need Python >= 3.11 and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
SECONDS ?= 600
EXPLANATIONS ?= 10000

.PHONY: reproduce test quick docs faults fuzz soak zoo lint format clean

reproduce: $(READY)  ## Train the case study; write model, figures and pictures to one folder.
	@$(BIN)/mnist-xai reproduce $(ARGS)

test: lint  ## Lint, format check, type check, all tests, all notebooks.
	@$(BIN)/python -m pytest -n auto --dist worksteal

quick: lint  ## Lint, types and a representative set of tests: red or green within a minute.
	@$(BIN)/python -m pytest -q -n auto --dist worksteal @tests/quick.txt

docs: $(READY)  ## Build the documentation into site/, offline; open site/index.html.
	@$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs site

faults: $(READY)  ## The long part of tests/faults: some 250 kills and 120 interruptions.
	@$(BIN)/python -m tests.faults.kills $(ARGS)
	@$(BIN)/python -m tests.faults.interrupts

fuzz: $(READY)  ## Long: random inputs, then each reader fuzzed for SECONDS (Linux x86-64).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.engine all $(SECONDS)
	@$(BIN)/python -m pytest -q tests/properties --hypothesis-profile=long

soak: $(READY)  ## Long: EXPLANATIONS explanations in one process; memory, traces, threads, files.
	@$(BIN)/python -m tests.load.soak $(EXPLANATIONS)

zoo: $(READY)  ## Long: every family of methods on every model of the zoo; writes docs/zoo.md.
	@$(BIN)/python -m tests.zoo --save-to docs/zoo.md $(ARGS)

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
	rm -rf $(VENV) runs site
