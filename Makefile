# Everything works from a clean clone with nothing but make and Python 3.11 or newer: the targets
# make .venv themselves, and install again when pyproject.toml has changed.
#
#   make test PYTHON=python3.12      another Python than the first that runs
#   make test ARGS="-k probes -x"    arguments for pytest, the demo or the benchmarks

PYTHON ?=
ARGS ?=

candidates := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
python := .venv/bin/python

# Being found proves nothing: a version manager's shim may only print that it has no such Python,
# and Debian's python3 comes without ensurepip and cannot make a whole environment.
usable := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))

# pyright asks the first python there is for its modules.
with_venv := PATH="$(CURDIR)/.venv/bin:$$PATH"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two pips at once would break the environment.
.NOTPARALLEL:
.PHONY: help test test-frameworks fleet measured demo triage test-triage pictures lint format \
	typecheck docs bench dist clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

test: .venv/.installed-tests ## run the tests (a few minutes)
	$(python) -m pytest $(ARGS)

test-frameworks: .venv/frameworks/.installed ## run the tests under real servers and frameworks
	.venv/frameworks/bin/python -m pytest $(wildcard tests/frameworks/check_*.py) $(ARGS)

fleet: .venv/.installed-tests ## run forty processes that share their limits (two minutes)
	$(python) -m pytest -m fleet -o faulthandler_timeout=300 $(ARGS)

measured: .venv/.installed-tests ## run the tests that want a quiet machine (some minutes)
	$(python) -m pytest -m measured $(ARGS)

demo: .venv/.installed-example ## run the example shop under load and show what is caught
	$(python) -m example_app.demo $(ARGS)

triage: .venv/.installed-example .venv-triage/.installed ## look at the issues of the example in a browser
	$(python) -m example_app.bugsink $(ARGS)

test-triage: .venv/.installed-triage .venv-triage/.installed ## test what a person sees of the issues
	$(python) -m pytest tests/triage $(ARGS)

pictures: .venv/.installed-pictures .venv-triage/.installed ## renew docs/pictures
	$(python) -m example_app.pictures
	$(python) -m benchmarks --pictures
	$(python) -m benchmarks.scale --pictures

lint: .venv/.installed-lint ## look for mistakes and for what is not formatted
	$(python) -m ruff check .
	$(python) -m ruff format --check .

format: .venv/.installed-lint ## mend what `make lint` can mend by itself
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

typecheck: .venv/.installed-typing ## check the types
	$(python) -m mypy
	$(with_venv) $(python) -m pyright --project pyproject.toml
	@$(with_venv) $(python) -m pyright --verifytypes sentry_loopstall --ignoreexternal \
		>.venv/verifytypes.log || { cat .venv/verifytypes.log; exit 1; }
	@grep 'completeness score' .venv/verifytypes.log

# With --quiet it would not count its warnings, and not fail.
docs: .venv/.installed-docs ## build the pages of docs/ into build/docs
	NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --config-file docs/site/mkdocs.yml

bench: .venv/.installed-benchmarks ## measure what watching costs
	$(python) -m benchmarks $(ARGS)

dist: .venv/.installed-release ## build what is published, and check that PyPI can show it
	rm -rf dist
	$(python) -m build
	$(python) -m twine check --strict dist/*

clean: ## remove .venv and everything that was built or cached
	rm -rf .venv .venv-triage build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed-%: pyproject.toml $(python)
	@echo "installing the package and its $* into .venv"
	@$(python) -m pip install --quiet 'pip>=25.1' # the first that knows --group
	@$(python) -m pip install --quiet --editable . --group $*
	@touch $@

# In an environment of its own, and out of pyproject.toml: the file says why.
bugsink := example_app/bugsink/requirements.txt

.venv-triage/.installed: $(bugsink) $(python)
	@echo "installing Bugsink into .venv-triage"
	@$(python) -m venv --clear .venv-triage
	@.venv-triage/bin/python -m pip install --quiet --requirement $(bugsink)
	@touch $@

# Apart: with Django installed the SDK behaves differently in the other tests.
.venv/frameworks/.installed: pyproject.toml $(python)
	@echo "installing the package and its frameworks into .venv/frameworks"
	@$(python) -m venv --clear .venv/frameworks
	@.venv/frameworks/bin/python -m pip install --quiet 'pip>=25.1'
	@.venv/frameworks/bin/python -m pip install --quiet --editable . --group frameworks
	@touch $@

# A .venv of another Python than the one asked for is made anew.
ifneq ($(PYTHON),)
identity := import sys; print(sys.version_info[:3], sys.base_prefix)
ifneq ($(shell $(PYTHON) -c '$(identity)'),$(shell $(python) -c '$(identity)' 2>&1))
.PHONY: $(python)
endif
endif

$(python):
	@for candidate in $(candidates); do \
		if $$candidate -c '$(usable)' 2>/dev/null; then \
			echo "creating .venv with $$candidate"; \
			exec $$candidate -m venv --clear .venv; \
		fi; \
	done; \
	echo "No Python 3.11 or newer with ensurepip among: $(candidates)." \
		"Name one with PYTHON=..." >&2; \
	exit 1
