# Every target does its own set-up on a fresh machine: Debian, Python 3.11 to 3.13, make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
# Files of tests on two cores at a time; each file's tests stay together, for what they share.
PARALLEL := --numprocesses 2 --dist loadfile

.PHONY: demo test lint types parity wheel legacy fuzz kill coverage benchmark benchmark-phantom tables cards clean

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

# All tests but those against other people's implementations, which `make parity` runs.
test: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/parity

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# PyTorch, transformers, timm, KerasHub and KerasCV are needed here alone; without them their tests are skipped.
# timm, KerasHub and KerasCV come without what they name as dependencies (tensorflow-text is 60 MB, TensorFlow Datasets
# with pyarrow as much): they import regex and tokenizers, which transformers brings, and dm-tree. 5 MB in all.
$(VENV)/parity: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,parity]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		'timm==1.0.29' 'keras-hub==0.32.0' 'keras-cv==0.9.0' 'dm-tree==0.1.10' \
		'confidenceinterval==1.0.5' 'statsmodels==0.15.0' 'patsy==1.0.3'
	@touch $@

parity: $(VENV)/parity
	MEDZOO_PARITY=1 $(BIN)/python -m pytest $(PARALLEL) tests/parity

# TensorFlow 2.15 with tensorflow-addons loads what we write; Python 3.11 and 600 MB of its own environment.
legacy: $(STAMP)
	PYTHON=$(BIN)/python sh tests/legacy.sh

# Each weights format, mutated 5,000 times; the tests do 200.
fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py --mutations 5000

# A training killed at twenty random moments, each time going on: all must end alike, bit for bit.
kill: $(STAMP)
	$(BIN)/python tests/kill.py --times 20

# How often each kind of interval covers the truth, on 5,000 simulated data sets; about ten minutes.
coverage: $(STAMP)
	$(BIN)/python tests/coverage_simulation.py

# Builds the wheel, installs it into an empty environment and runs it from another folder.
wheel: $(STAMP)
	PYTHON=$(BIN)/python sh tests/wheel.sh

benchmark: $(STAMP)
	$(BIN)/python benchmarks/run_all.py

# How near a network comes to the phantom's ideal observer when it sees no image twice; about half an hour.
benchmark-phantom: $(STAMP)
	$(BIN)/python benchmarks/phantom.py

tables: $(STAMP)
	$(BIN)/python -m medzoo.models.tables.generate

# The cards of keras.applications, from the installed Keras's own constants.
cards: $(STAMP)
	$(BIN)/python weights_registry/generate.py

clean:
	rm -rf $(VENV) .venv-legacy build dist demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
