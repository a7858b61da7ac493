# The two commands of the README. Both make the environment on first use.
VENV ?= .venv
WORKDIR ?= runs/mbv2_int8
PYTHON ?= python3
# Processes of the tests; each takes up to 5 GB.
WORKERS ?= 2
# All tests, or some files: tests/integer/matching_test.py. @tests/tight.txt are
# those whose numbers depend on how they are compiled, for other XLA_FLAGS.
TESTS ?=

.PHONY: train test

train: $(VENV)/installed
	$(VENV)/bin/python -m faceqat.main --config=configs/mbv2_int8.py \
	  --workdir=$(WORKDIR)

test: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo --no-cache
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile \
	  --no-loadscope-reorder $(TESTS)

# Prints "fits", or which version it is that is too old.
VERSION := import sys; v = sys.version_info; \
  print("fits" if v >= (3, 11) else "Python %d.%d.%d" % v[:3])

# An environment that was stopped while it was made, or whose Python is too old
# or gone, is made anew; any other is kept.
ifneq ($(shell test ! -e $(VENV)/unfinished && \
  $(VENV)/bin/python -c '$(VERSION)' 2> /dev/null),fits)
.PHONY: $(VENV)/bin/python
endif

# What is installed quietly says everything when it fails.
log := $(VENV)/log.txt
failed = { cat $(log) >&2; \
  test ! -e $(VENV)/unfinished || rm -rf $(VENV); exit 1; }
pip_install := $(VENV)/bin/python -m pip install --requirement

$(VENV)/bin/python: found = $(shell $(PYTHON) -c '$(VERSION)' 2> /dev/null)
$(VENV)/bin/python:
	$(if $(filter fits,$(found)),,$(error faceqat needs Python 3.11 or newer, \
	  but $(PYTHON) is $(or $(found),none); try: make PYTHON=python3.11))
	$(if $(wildcard $(VENV)/pyvenv.cfg $(VENV)/unfinished),,$(if \
	  $(wildcard $(VENV)),$(error VENV is $(VENV), which is something else than \
	  an environment of Python; name another folder)))
	@rm -rf $(VENV)
	@mkdir -p $(VENV)
	@touch $(VENV)/unfinished
	@$(PYTHON) -m venv $(VENV) > $(log) 2>&1 || $(failed)

$(VENV)/installed: $(VENV)/bin/python requirements.txt
	@echo 'installing requirements.txt in $(VENV): a few minutes, once'
	@$(pip_install) requirements.txt > $(log) 2>&1 || $(failed)
	@rm -f $(VENV)/unfinished
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt \
  requirements-tfds.txt requirements-tflm.txt
	@echo 'installing requirements-dev.txt in $(VENV)'
	@$(pip_install) requirements-dev.txt > $(log) 2>&1 || $(failed)
	@touch $@
