# `make` alone prints the commands.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Two files at once: tests compute on one thread.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
CIFAR10 ?= ../shared/data/cifar10

.PHONY: help setup demo check test learn bench clean

help:
	@echo "make setup   make .venv and install everything (the others do it when it is missing)"
	@echo "make demo    the whole job on photographs that come with the packages, in four minutes"
	@echo "make check   ruff, pyright and the fast tests"
	@echo "make test    all tests but the long ones"
	@echo "make learn   short trainings on real pictures: every task must learn, every resume be exact"
	@echo "make bench   speed, as ratios within one run"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/selfsight demo

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/pyright -p tests
	$(PYTEST) -m "not learn and not gpu and not slow"

test: $(INSTALLED)
	$(PYTEST) -m "not learn and not gpu"

learn: $(INSTALLED)
	$(PYTEST) -m learn

bench: $(INSTALLED)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/linear_probe.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/many_pictures.py
	$(BIN)/python benchmarks/peers.py $(CIFAR10) --network test_resnet

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache
