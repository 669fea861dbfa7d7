# make demo   set everything up and compress the sample network in models/
# make test   set everything up and run the tests
# make lint   ruff, mypy and the import layers
# make bench  every network through the whole line, and latency beside other tools (long; on an idle machine)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test lint bench

demo: .venv/installed
	$(BIN)/onnxprune demo

# Two at a time, each with one thread of PyTorch, a file of tests in one process: what measures latency is not crowded.
test: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python benchmarks/zoo.py build/zoo
	$(BIN)/python benchmarks/networks.py build/zoo --out benchmarks/results/networks.json
	$(BIN)/python benchmarks/peers.py build/zoo --out benchmarks/results/peers.json

.venv/installed: setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "onnxprune needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	@echo "Installing onnxprune and what it needs into .venv (PyTorch is large: one to several minutes) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test,dev]'
	@touch $@
