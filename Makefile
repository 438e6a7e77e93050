# Everything happens in .venv, which the first command makes.

PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PACKAGING := setup.cfg setup.py pyproject.toml
PYTHONS ?= python3.13 python3.12 python3.11 python3
# Autobahn's test suite needs one of these.
PYTHONS27 ?= python2.7 $(wildcard $(HOME)/.pyenv/versions/2.7.*/bin/python2.7)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Clients that the end-to-end tests drive; without npm those tests skip.
NODE_MODULES := $(if $(shell command -v npm),tests/e2e/node_modules/.package-lock.json)

.DEFAULT_GOAL := help
.PHONY: help serve test long conformance lint types bench clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.serve ## Run the server on port 8080; PORT=... for another
	@exec $(BIN)/twistd -n --pidfile= reverb --port $(PORT)

# Tests wait most of the time, for processes and leases, so three files of them run side by side.
test: $(VENV)/.test $(NODE_MODULES) ## Run the tests side by side; with ARGS=..., pytest as you ask
	$(BIN)/pytest $(or $(ARGS),-n 3)

long: $(VENV)/.test ## Let hundreds of clients flap on nodes that break; LONG_SECONDS=..., LONG_SEED=...
	$(BIN)/pytest -m long -s $(ARGS)

conformance: $(VENV)/.serve ## Run Autobahn's test suite, where Python 2.7 is at hand; takes minutes
	$(BIN)/python tests/conformance/run_suite.py --environment $(VENV)/wstest \
	  --reports build/conformance $(PYTHONS27)

lint: $(VENV)/.lint ## Check the style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.test $(VENV)/.lint ## Check the types
	$(BIN)/mypy

bench: $(VENV)/.bench ## Measure the server, write docs/performance.md; ARGS=... (--list lists what)
	@exec $(BIN)/python -m bench $(ARGS)
bench: export BENCH_COMMAND = make bench$(if $(ARGS), ARGS="$(ARGS)")

clean: ## Remove all that make has made
	rm -rf $(VENV) tests/e2e/node_modules build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .hypothesis twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: $$python cannot make virtual environments: on Debian and Ubuntu, install" \
	      "python3-venv" >&2; exit 1; }; \
	  echo "$$python -m venv $(VENV)"; \
	  exec "$$python" -m venv $(VENV); \
	done; \
	echo "make: this needs Python 3.11 or newer; tried $(PYTHONS)" >&2; exit 1

# The stamps are newer than what they were installed from.
$(VENV)/.serve: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.test: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test,bench]'
	@touch $@ $(VENV)/.serve $(VENV)/.bench

$(VENV)/.lint: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[lint]'
	@touch $@ $(VENV)/.serve

$(VENV)/.bench: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[bench]'
	@touch $@ $(VENV)/.serve

tests/e2e/node_modules/.package-lock.json: tests/e2e/package.json tests/e2e/package-lock.json
	cd tests/e2e && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
