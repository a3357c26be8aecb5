# Every target does its own set-up: a virtual environment with the exact versions of
# constraints.txt. A second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORES ?= 4
# Of two calls in one clone, one installs and the other waits.
LOCK := $(shell command -v flock > /dev/null && echo flock .venv.lock)

.PHONY: table1 smoke test hub-whole sparse-parity docs lint format setup clean

table1: $(STAMP)
	$(BIN)/snakemake table1 --cores $(CORES)
	@cat paper_tables/generated/mini/table1.md
	@echo 'To run single commands, activate the environment: source $(BIN)/activate'

smoke: $(STAMP)
	$(BIN)/snakemake smoke --cores $(CORES)
	@cat paper_tables/generated/smoke/smoke.md

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations=30 -m "not sparse_parity"

# The official figures of single weights on the real model: 18 minutes on a shared core. The official
# codes had vectors of 512 bits, which the package narrows elsewhere so that machines agree.
WIDEST := $(shell grep -w avx512vl /proc/cpuinfo 2> /dev/null | grep -qw avx512dq && echo avx512)
sparse-parity: $(STAMP)
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=$(or $(WIDEST),avx2) $(BIN)/python -m pytest -m sparse_parity

# What `test` does with a hub on this machine, and both of the paper's profiles again without it.
hub-whole: $(STAMP)
	ADAPTPRUNE_HUB_WHOLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hub -n 2 --dist loadgroup

# A static site of the same pages; a link that leads nowhere ends it.
docs: $(STAMP)
	$(BIN)/python -m sphinx -E -c docs -d build/doctrees -n -W --keep-going --quiet . build/site
	@echo 'wrote build/site/index.html'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(LOCK) sh -c 'test $@ -nt pyproject.toml -a $@ -nt constraints.txt || { set -ex; \
	  $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs,slurm]"; \
	  touch $@; }'

# Hours of computing may lie there: nothing is deleted.
clean:
	@aside=cleaned/$$(date +%Y-%m-%d-%H%M%S); \
	for folder in results/runs paper_tables/generated .snakemake; do \
	  test ! -e $$folder || { mkdir -p $$aside/$$(dirname $$folder) && mv $$folder $$aside/$$folder \
	    && echo "moved $$folder to $$aside/$$folder; delete it there when you need it no more"; }; \
	done
