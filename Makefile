# All targets use the virtual environment .venv, which the first one creates.

PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PACKAGING := setup.cfg setup.py pyproject.toml
PYTHONS ?= python3.13 python3.12 python3.11 python3
# The Python 2.7 interpreters to try for Autobahn's test suite.
PYTHONS27 ?= python2.7 $(wildcard $(HOME)/.pyenv/versions/2.7.*/bin/python2.7)
PIP_INSTALL = @echo "Installing packages into $(VENV) for $(@F); this may take some minutes"; $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The JavaScript clients of the end-to-end tests. Without npm these tests are skipped.
# With COVERAGE=1, and in continuous integration, the tests measure their coverage.
MEASURED := $(or $(COVERAGE),$(filter true,$(CI)))
PYTEST := $(BIN)/$(if $(MEASURED),coverage run -m )pytest
NOX := PATH="$(CURDIR)/$(BIN):$$PATH" nox
NODE_MODULES := $(if $(shell command -v npm),tests/e2e/node_modules/.package-lock.json)

.DEFAULT_GOAL := help
.PHONY: help serve test quick long conformance coverage coverage-check matrix lowest
.PHONY: lint format types docs changelog hooks bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.serve ## Run the server on port 8080, or on PORT=...
	@exec $(BIN)/twistd -n --pidfile= reverb --port $(PORT)

# Tests mostly wait for processes and leases, so three files run in parallel.
test: $(VENV)/.test $(NODE_MODULES) ## Run the tests in parallel, or pytest with ARGS=...
	$(if $(MEASURED),$(BIN)/coverage erase)
	$(PYTEST) $(or $(ARGS),-n 3)

quick: $(VENV)/.test ## Run the tests that start no program and do not wait, in under a minute
	$(BIN)/pytest --quick -n 2 $(ARGS)

long: $(VENV)/.test ## Run the chaos test: many clients, failing nodes; LONG_SECONDS=..., LONG_SEED=...
	$(BIN)/pytest -m long -s $(ARGS)

coverage: ## Run the tests, and check how much of the code they cover
	$(MAKE) test COVERAGE=1
	$(MAKE) coverage-check

coverage-check: $(VENV)/.test ## Check the coverage that the last test run has measured
	@ls build/coverage/data* >/dev/null 2>&1 || { echo "No coverage was measured: run make coverage" >&2; exit 1; }
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet --fail-under=0
	$(BIN)/coverage json --quiet --fail-under=0
	$(BIN)/coverage report --skip-covered --fail-under=0
	$(BIN)/python .ci/coverage_floors.py
	@echo "The whole, in percent:"
	$(BIN)/coverage report --format=total

matrix: $(VENV)/.dev ## Run the quick tests on each Python, with the lowest and the latest dependencies
	$(NOX) $(ARGS)

lowest: $(VENV)/.dev ## The same on one Python, with the lowest dependencies
	$(NOX) --tags lowest --python $$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

conformance: $(VENV)/.serve ## Run Autobahn's test suite (minutes); needs Python 2.7
	$(BIN)/python tests/conformance/run_suite.py --environment $(VENV)/wstest \
	  --reports build/conformance $(PYTHONS27)

lint: $(VENV)/.lint ## Check style, formatting and the fragments of the changelog
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/towncrier build --draft >/dev/null

format: $(VENV)/.lint ## Correct the formatting, and the style problems that ruff can correct
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.test $(VENV)/.lint ## Check the types
	$(BIN)/mypy

docs: $(VENV)/.docs ## Write the API reference to build/api
	$(BIN)/pydoctor

changelog: $(VENV)/.lint ## Show what the next release changes
	@$(BIN)/towncrier build --draft

hooks: $(VENV)/.dev $(VENV)/.test $(VENV)/.lint ## Check each commit with lint and types
	$(BIN)/pre-commit install

bench: $(VENV)/.bench ## Run the benchmark and write docs/performance.md; ARGS=--list shows its parts
	@exec $(BIN)/python -m bench $(ARGS)
bench: export BENCH_COMMAND = make bench$(if $(ARGS), ARGS="$(ARGS)")

clean: ## Remove everything that make has created
	rm -rf $(VENV) tests/e2e/node_modules build dist *.egg-info
	rm -rf .mypy_cache .ruff_cache .hypothesis .nox twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: $$python cannot create virtual environments: on Debian and Ubuntu, install" \
	      "python3-venv" >&2; exit 1; }; \
	  echo "$$python -m venv $(VENV)"; \
	  exec "$$python" -m venv $(VENV); \
	done; \
	echo "make: this needs Python 3.11 or newer; tried $(PYTHONS)" >&2; exit 1

# Each stamp file records an installation; a newer packaging file triggers a new one.
$(VENV)/.serve: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.test: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[test,bench]'
	@touch $@ $(VENV)/.serve $(VENV)/.bench

$(VENV)/.lint: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[lint]'
	@touch $@ $(VENV)/.serve

$(VENV)/.docs $(VENV)/.dev: $(VENV)/.%: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@ $(VENV)/.serve

$(VENV)/.bench: $(PACKAGING) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[bench]'
	@touch $@ $(VENV)/.serve

tests/e2e/node_modules/.package-lock.json: tests/e2e/package.json tests/e2e/package-lock.json
	cd tests/e2e && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
