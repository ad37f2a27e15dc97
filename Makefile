# Every target makes the virtual environment .venv by itself. `make help` lists them.

# A Python 3.11 or newer for .venv; by default the newest one that works.
PYTHON ?=
# More words for pytest: make test ARGS="-k deadlock"
ARGS ?=
VERSIONS ?= 14 15 16 17 18
# Tests with a server wait more than they compute: two at a time for each core.
WORKERS ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo quick test test-long test-page test-packages test-matrix lint format docs hooks bench clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/.ready ## Stage a real incident on a throw-away Postgres, explain it, release it
	@.venv/bin/pgdoctor demo --mitigate

test: .venv/.ready ## Run the tests, each worker on an embedded Postgres 18 of its own (ARGS="..." goes to pytest)
	@.venv/bin/python -m pytest -n $(WORKERS) -m "not long and not browser and not packages" $(ARGS)

quick: .venv/.ready ## Run the tests that need no server and no other process, in less than a minute
	@.venv/bin/python -m pytest -n auto -m "not long and not browser and not packages" --quick -r fE $(ARGS)

test-long: .venv/.ready ## Run the rest, which takes longer: outages, floods, EXPLAIN, a scene of every class
	@.venv/bin/python -m pytest -n $(WORKERS) -m "long and not browser and not packages" $(ARGS)

test-page: .venv/.ready ## Look at the page in a headless Chromium, which has to be there; pictures go to build/pictures
	@.venv/bin/python -m pytest -m browser $(ARGS)

test-packages: .venv/.ready ## Render, build, install and remove what docker/ ships; needs tools, and names the missing one
	@.venv/bin/python -m pytest -m packages $(ARGS)

test-matrix: .venv/.ready ## Run the tests that need a server on Postgres 14 to 18 in turn (VERSIONS="14 18")
	@.venv/bin/python -m tests.matrix $(VERSIONS) -- -n $(WORKERS) $(ARGS)

lint: .venv/.ready ## Check style and types
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@if [ -x .venv/bin/biome ]; then .venv/bin/biome ci pgdoctor; else echo "biome: skipped, it is not made for this system"; fi
	@.venv/bin/mypy

format: .venv/.ready ## Put the code into the house format
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format
	@if [ -x .venv/bin/biome ]; then .venv/bin/biome check --write pgdoctor; fi

docs: .venv/.ready ## Write the generated parts of the manual in pgdoctor/docs: metrics, configuration, guards, classes, findings
	@.venv/bin/python -m tests.docs

man: .venv/.ready ## Write manual pages for man(1) to build/man, one a command
	@.venv/bin/python -m pgdoctor.cli._man_pages build/man

hooks: ## Check the message of each commit in this clone (a short imperative subject)
	@install -D -m 755 .ci/commit-msg "$$(git rev-parse --git-path hooks)/commit-msg"

bench: .venv/.ready ## Measure the table of costs with its goals (ARGS="rest" for a part, ARGS="--compare FILE" for an earlier run, ARGS=--help)
	@.venv/bin/python -m tests.bench $(ARGS)

clean: ## Remove what was made here, .venv included
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Only a Python that can make environments will do: the shims of version managers are there but may not run, and
# Debian's python3 comes without ensurepip.
.venv/.ready: pyproject.toml constraints.txt
	@set -e; wanted='import sys; sys.exit(sys.version_info < (3, 11))'; \
	found=; bare=; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	    "$$python" -c "$$wanted" 2>/dev/null || continue; \
	    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
	    bare=$${bare:-$$python}; \
	done; \
	if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	    echo "error: $$bare cannot make virtual environments; install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; \
	elif [ -z "$$found" ]; then \
	    echo "error: no Python 3.11 or newer found$(if $(PYTHON), as $(PYTHON)); name one: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! .venv/bin/python -c "$$wanted" 2>/dev/null; then \
	    echo "Making .venv with $$("$$found" --version)" >&2; "$$found" -m venv --clear .venv; \
	fi; \
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'; \
	touch .venv/.ready
