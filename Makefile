# Every target works on a fresh machine with Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-slow test-browser check format smoke bench bench-scale pretrain-embedded clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): some hundred MB, a few minutes ..."
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip  # Python 3.11 brings one that does not know dependency groups
	$(INSTALL) --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) --group dev
	touch $@

demo: $(VENV)/installed  ## train on the embedded sample and write a report
	$(BIN)/memeblend demo --out demo-run

test: $(VENV)/installed-dev  ## the fast tests
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/installed-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 -m slow

test-browser: $(VENV)/installed-dev  ## the page in a real Chromium (apt-get install chromium)
	$(BIN)/python -m pytest -m browser tests/browser

check: $(VENV)/installed-dev  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

smoke: $(VENV)/installed  ## limited fits on real memes, where MEMEBLEND_DATA is
	$(BIN)/python benchmarks/smoke.py

bench: $(VENV)/installed-dev  ## every performance claim, measured here
	for name in subset_search frozen_features cached_epochs joint_training start_up contrastive_step; do $(BIN)/python benchmarks/$$name.py || exit 1; done

bench-scale: $(VENV)/installed-dev  ## one worker against two, scoring and training; killed workers (extra ray)
	$(BIN)/python benchmarks/scale_out.py --json

MEMEBLEND_DATA ?= ../shared/data
SETS := imgflip575k cm_memes harmeme memotion1
pretrain-embedded: $(VENV)/installed-dev  ## the embedded encoder on real memes, some hours; the same command goes on
	$(BIN)/memeblend pretrain $(addprefix $(MEMEBLEND_DATA)/,$(SETS)) --out embedded-encoder \
		--recipe examples/pretrain-embedded.toml $(if $(STEPS),--set num_steps=$(STEPS))

clean:
	rm -rf $(VENV) demo-run
