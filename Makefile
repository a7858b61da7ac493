# The two commands of the README. Both make the environment on first use.
VENV ?= .venv
WORKDIR ?= runs/mbv2_int8
PYTHON ?= python3
# Processes of the tests; each takes up to 5 GB.
WORKERS ?= 2
# All tests, or some files: tests/matching_test.py. @tests/tight.txt are those
# that compare floats, for another `XLA_FLAGS=--xla_cpu_max_isa=AVX2`.
TESTS ?=

.PHONY: train test

train: $(VENV)/installed
	$(VENV)/bin/python -m faceqat.main --config=configs/mbv2_int8.py \
	  --workdir=$(WORKDIR)

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile \
	  --no-loadscope-reorder $(TESTS)

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
