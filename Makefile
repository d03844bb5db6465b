# Everything one does here, as `make <target>`; `make` alone lists the targets. Only `setup` and `slicer` need a network.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/installed
SLICER_VENV := .venv-slicer
SLICER_RUN := $(SLICER_VENV)/bin/python
SLICER_STAMP := $(SLICER_VENV)/installed
JOBS ?= 2
BUNDLE ?= brain_mr_synthesis_ldm

.PHONY: help setup slicer demo test test-all lint format index package bench evaluate adaptability
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/' | expand -t 16

# $(call check_python,target,lowest): stops with a sentence if PYTHON is not there, older than 3.lowest or without venv.
define check_python
command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not on the PATH; install Python 3.11 or 3.12, or say make PYTHON=/path/to/python3.11 $(1)." >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(not (3, $(2)) <= sys.version_info[:2] <= (3, 13))' || { echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1), and Python 3.$(2) to 3.13 is needed; say make PYTHON=/path/to/python3.11 $(1)." >&2; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (Debian: apt install python3-venv)." >&2; exit 1; }
endef

setup: $(STAMP)  ## make .venv and install what requirements.txt pins (once; 4 minutes, 6 GB with CUDA)

$(STAMP): requirements.txt requirements-label.txt pyproject.toml
	@$(call check_python,setup,10)
	@set -e; \
	began=$$SECONDS; \
	echo "setup 1/3: virtual environment $(VENV) with $$($(PYTHON) --version)"; \
	$(PYTHON) -m venv $(VENV); \
	if $(RUN) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))'; then \
	  echo "setup 2/3: the exact packages of requirements.txt (PyTorch is large: minutes)"; \
	  $(RUN) -m pip install --disable-pip-version-check -r requirements.txt; \
	  $(RUN) -m pip install --disable-pip-version-check --no-deps -r requirements-label.txt; \
	else \
	  echo "setup 2/3: the newest packages that pyproject.toml allows (the pins are for Python 3.11 and 3.12)"; \
	  $(RUN) -m pip install --disable-pip-version-check -e '.[dev]' setuptools; \
	fi; \
	echo "setup 3/3: synthzoo itself, editable"; \
	$(RUN) -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	touch $(STAMP); \
	echo "setup: done in $$((SECONDS - began)) s; everything after this works offline"

slicer: $(SLICER_STAMP)  ## make .venv-slicer: Slicer's libraries for the tests of the plugins (once; 5 minutes, 1.8 GB)
	@$(SLICER_RUN) tests/plugins/slicer_python.py

$(SLICER_STAMP): requirements-slicer.txt
	@$(call check_python,slicer,11)
	@set -e; \
	began=$$SECONDS; \
	echo "slicer 1/2: virtual environment $(SLICER_VENV) with $$($(PYTHON) --version)"; \
	$(PYTHON) -m venv $(SLICER_VENV); \
	echo "slicer 2/2: the exact packages of requirements-slicer.txt"; \
	$(SLICER_RUN) -m pip install --disable-pip-version-check -r requirements-slicer.txt; \
	touch $(SLICER_STAMP); \
	echo "slicer: installed in $$((SECONDS - began)) s, $$(du -sh $(SLICER_VENV) | cut -f1)"

demo: setup  ## three synthetic brains as requested and two anomaly maps; writes demo/
	@$(RUN) scripts/demo.py
	@echo "for monailabel and every other command here: source $(VENV)/bin/activate"

test: setup  ## the whole suite but what is slow: offline, on the CPU, about 20 minutes on two cores (JOBS=2)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) scripts/check_json.py
	$(RUN) -m pytest -n $(JOBS) $(ARGS)

test-all: ARGS += --slow
test-all: test  ## the whole suite with what takes minutes each

lint: setup  ## ruff, mypy, the order and form of the JSON files, and whether what is generated is fresh
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) scripts/check_json.py
	$(RUN) scripts/build_index.py --check

format: setup  ## bring Python and the bundles' JSON into their one form
	$(RUN) -m ruff check --fix-only --quiet .
	$(RUN) -m ruff format .
	$(RUN) scripts/check_json.py --write
	$(RUN) scripts/build_index.py

index: setup  ## metadata + metrics files -> bundle_index.json, the cards' and the README's tables
	$(RUN) scripts/build_index.py

package: setup  ## one zip per bundle in dist/, with the wheel and checksums
	$(RUN) scripts/package_bundles.py

bench: setup  ## seconds per volume against the peers on the same weights
	$(RUN) scripts/benchmark.py sampling --bundle brain_mr_synthesis_ldm

evaluate: setup  ## the numbers of one bundle's card: make evaluate BUNDLE=brain_mr_anomaly_map_manytasks
	cd bundles/$(BUNDLE) && ../../$(RUN) -m monai.bundle run --config_file "['configs/inference.json','configs/evaluate.json']"

adaptability: setup  ## generators of every modality in one table, docs/adaptability.md; make adaptability ARGS="--rows echo"
	$(RUN) scripts/adaptability.py $(ARGS)
