# `make` alone prints the commands.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# Two tests at once, each on one thread; who has none left takes over half of the other's.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal
FAST := not learn and not gpu and not slow
CIFAR10 ?= ../shared/data/cifar10

.PHONY: help setup demo lint ruff types types-of-tests check test kernels learn fuzz faults bench docs clean

help:
	@echo "make setup   make .venv and install everything (the others do it when it is missing)"
	@echo "make demo    the whole job on photographs that come with the packages, in four minutes"
	@echo "make lint    ruff and pyright"
	@echo "make check   ruff, pyright and the fast tests"
	@echo "make test    all tests but the lessons; the costliest files are told"
	@echo "make kernels the arithmetic once more, by a processor's plainer instructions"
	@echo "make learn   lessons: short trainings on real pictures, in which every task must learn"
	@echo "make fuzz    10,000 mutated pictures, tables, shards and runs, each read or refused in a sentence"
	@echo "make faults  kills, full disks, flipped bits and more, put to real commands, in a quarter of an hour"
	@echo "make docs    writes docs/tasks.md, and the README's table of results"
	@echo "make bench   speed, as ratios within one run"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

setup: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/selfsight demo

ruff: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/pyright

types-of-tests: $(INSTALLED)
	$(BIN)/pyright -p tests

lint: ruff types types-of-tests

check: lint
	$(PYTEST) -m "$(FAST)"

test: $(INSTALLED)
	$(PYTEST) -m "not learn and not gpu"

kernels: $(INSTALLED)
	ATEN_CPU_CAPABILITY=avx2 $(PYTEST) -m "$(FAST)" tests/augment tests/layers tests/distributed tests/tasks tests/probes

learn: $(INSTALLED)
	$(PYTEST) -m learn

fuzz: $(INSTALLED)
	$(BIN)/python tests/fuzz $(FUZZ)

# Goes on where it stopped, as long as no file has changed.
FAULTS ?= faults-tried
faults: $(INSTALLED)
	$(BIN)/python tests/faults.py --work $(FAULTS)

bench: $(INSTALLED)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/linear_probe.py
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/many_pictures.py
	$(BIN)/python benchmarks/peers.py $(CIFAR10) --network test_resnet

docs: $(INSTALLED)
	$(BIN)/python docs/tasks.py
	$(BIN)/python docs/table.py

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache
