# Every target does its own set-up on a fresh machine: Debian, Python 3.11 to 3.13, make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed

.PHONY: demo test lint types parity wheel benchmark tables clean

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "medzoo needs Python 3.11, 3.12 or 3.13; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "this Python has no venv module. Try: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Runs in demo/, which may be there from before: the first command's output is the same every time, the
# second starts a new run.
demo: $(STAMP)
	@mkdir -p demo
	cd demo && ../$(BIN)/medzoo transplant --src imagenet --mode stats
	cd demo && ../$(BIN)/medzoo train
	@echo "results: demo/mobilenet_075.imagenet.stats.weights.h5 with its plan, and the newest folder in demo/runs"

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

parity: $(STAMP)
	$(BIN)/python -m pytest tests/parity

# Builds the wheel, installs it into an empty environment and runs it from another folder.
wheel: $(STAMP)
	PYTHON=$(BIN)/python sh tests/wheel.sh

benchmark: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

tables: $(STAMP)
	$(BIN)/python -m medzoo.models.tables.generate

clean:
	rm -rf $(VENV) build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
