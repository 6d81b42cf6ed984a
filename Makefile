# Every target sets itself up: it needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test soak check bench clean

help:
	@echo "make demo   serve the example site on http://127.0.0.1:8000"
	@echo "make test   check types and style, run the tests, measure coverage (under 5 minutes)"
	@echo "make soak   run the long tests (under 15 minutes)"
	@echo "make check  check types and style only"
	@echo "make bench  measure the speed against bare and raw"
	@echo "make clean  remove what these targets made"

$(READY): pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; name it: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY)
	@echo "The example site is on http://127.0.0.1:8000 (end it with Ctrl-C); it keeps its data in demo/"
	@exec $(BIN)/gunicorn --config examples/gunicorn.conf.py examples.demo.app:application

check: $(READY)
	@echo "Checking style and types ..."
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary

test: check
	@echo "Testing ..."
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -m "not soak"
	@$(BIN)/coverage report --skip-covered --fail-under=95
	@$(BIN)/coverage report --skip-covered --fail-under=100 --include=$(CORE)

soak: $(READY)
	@echo "Testing at length ..."
	@$(BIN)/python -m pytest -m soak

bench: $(READY)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

comma := ,
empty :=
space := $(empty) $(empty)
CORE := $(subst $(space),$(comma),$(patsubst %,session_middleware/%.py,tokens lifetime refusals codecs carrying record merge session repository commits takeover manager cookies headers middleware config))
