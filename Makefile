# Every target sets itself up: it needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAB_READY := $(VENV)/.ready-for-the-lab
PYTEST := $(BIN)/python -m pytest --quiet --dist worksteal
TIMED = $(shell grep -rl --include='test_*.py' 'mark\.timed' tests)

# Whoever has asked for no bytecode would have all of it compiled anew by every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test others soak check docs bench instructions drawing screenshots clean

help:
	@echo "make demo   serve the session lab on http://127.0.0.1:8000 (on another store: make demo STORE=redis://...)"
	@echo "make test   check types and style, run the tests, measure coverage (6 minutes on two processors)"
	@echo "make others run Django's own tests, and those of others, over our sessions (3 minutes; one of them: SUITE=otp)"
	@echo "make soak   run the long tests (15 minutes on two processors)"
	@echo "make check  check types and style only"
	@echo "make docs   make the book, in build/docs; what is wrong in it is an error"
	@echo "make bench  measure the speed against an application without sessions and stores used by hand"
	@echo "make instructions  count the instructions of a request and compare them with the kept counts; it needs Valgrind"
	@echo "make drawing  draw which module imports which, for the book; it needs Graphviz"
	@echo "make screenshots  make the pictures in docs/ anew; it needs Chromium"
	@echo "make clean  remove what these targets made"

# What the lab needs on a store without a server is less, and sooner there.
$(LAB_READY): EXTRA := examples
$(READY): EXTRA := dev
$(LAB_READY) $(READY): pyproject.toml setup.cfg
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; name it: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what is needed into $(VENV); the first time that takes a minute or more ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --editable '.[$(EXTRA)]'
	@touch $@

demo: $(if $(STORE),$(READY),$(LAB_READY))
	@exec $(BIN)/python -m examples.lab $(if $(STORE),--store '$(STORE)')

drawing: $(READY)
	@$(BIN)/python -m docs.architecture

screenshots: $(READY)
	@$(BIN)/python -m docs.screenshots

check: $(READY)
	@echo "Checking style and types ..."
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary

test: check
	@echo "Testing ..."
	@$(BIN)/coverage erase
	@$(PYTEST) -n auto --cov --cov-report= -m "not soak and not timed"
	@$(PYTEST) -n 3 --cov --cov-append --cov-report= -m "not soak and timed" $(TIMED)
	@$(BIN)/coverage report --skip-covered --fail-under=95
	@$(BIN)/coverage report --skip-covered --fail-under=100 --include=$(CORE)

others: $(READY)
	@$(BIN)/python -m tests.others $(SUITE)

soak: $(READY)
	@echo "Testing at length ..."
	@$(PYTEST) -n auto -m "soak and not timed"
	@$(PYTEST) -n 3 -m "soak and timed" $(TIMED)

docs: $(READY)
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs build/docs
	@echo "The book is in build/docs/index.html."

bench: $(READY)
	@$(BIN)/python -m benchmarks

instructions: $(READY)
	@$(BIN)/python -m benchmarks.instructions

clean:
	rm -rf $(VENV) .others demo build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

comma := ,
empty :=
space := $(empty) $(empty)
CORE := $(subst $(space),$(comma),$(patsubst %,session_middleware/%.py,clock frozen tokens lifetime codecs/* carry_over headers record rules values state session repository commits takeover outage manager cookies config advice exchange middleware))
