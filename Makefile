# Needs make and Python 3.10 or newer; everything else goes into .venv.
# Another Python:  make PYTHON=python3.12 install

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARCH ?= $(shell dpkg --print-architecture)

.PHONY: help install demo test test-slow test-systemd test-examples test-dashboards test-bounds test-arm test-i386 lint bench deb clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.demo  ## make .venv with Lastlayer and what the demo needs

demo: install  ## see it all once (PHOTOS=folder: your own pictures, KEEP=1: leave it running)
	@$(BIN)/lastlayer demo $(if $(PHOTOS),--photos "$(PHOTOS)") $(if $(filter-out 0,$(KEEP)),--keep)

# Often a test waits for a process or a clock: one more than there are cores.
test: $(VENV)/.dev  ## run all tests but those that have a target of their own
	$(BIN)/python -m pytest -n $$(($$(nproc) + 1)) -m "not slow and not systemd and not arm and not examples and not dashboards and not bounds"

test-slow: $(VENV)/.trainer  ## run the slow tests, and those of the trainer that need its extra
	$(BIN)/python -m pytest -n auto tests/trainer -m "not slow"
	$(BIN)/python -m pytest -m slow

test-systemd: $(VENV)/.dev  ## run the service and its package under a systemd in a container (needs root)
	$(BIN)/python -m pytest -m systemd

test-examples: $(VENV)/.dev  ## run the camera scripts in examples/
	$(BIN)/python -m pytest -m examples

test-dashboards: $(VENV)/.dev  ## run the dashboards in examples/dashboards/
	$(BIN)/python -m pytest -m dashboards

test-bounds: $(VENV)/.dev  ## post at a real daemon what takes memory, and look at it
	$(BIN)/python -m pytest -m bounds

test-arm: $(VENV)/.dev  ## run the agent on a 32-bit ARM board, under an emulator
	$(BIN)/python -m pytest -m arm

test-i386: $(VENV)/.dev  ## run the tests that need no TFLite on 32 bits with Debian 12's libraries
	$(BIN)/python -m tests.boards.i386

lint: $(VENV)/.dev  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## measure this machine: the study's phases, then all of benchmarks/ as one table
	@status=0; \
	$(BIN)/lastlayer bench || status=$$?; \
	$(BIN)/python -m benchmarks || status=$$?; \
	exit $$status

deb: $(VENV)/.python  ## make the Debian package for a board (ARCH=armhf, arm64 or amd64) in dist/
	$(BIN)/python debian/build.py $(ARCH)

clean:  ## remove .venv and all else that was made here
	rm -rf $(VENV) .cache build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of extras: made again when the dependencies change.
$(VENV)/.demo: setup.cfg pyproject.toml | $(VENV)/.python
	@echo "Installing Lastlayer into $(VENV)"
	@$(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.dev: setup.cfg pyproject.toml | $(VENV)/.python
	@echo "Installing Lastlayer and its development tools into $(VENV)"
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.trainer: $(VENV)/.dev
	@echo "Installing what the trainer needs into $(VENV)"
	@$(PIP_INSTALL) --editable '.[dev,trainer,backbones]'
	@touch $@

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON) here: install Python 3.10 or newer, or name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(PYTHON) is too old: Lastlayer needs Python 3.10 or newer; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks the module venv or ensurepip, which make virtual environments;" >&2; \
		echo "on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
