# Every target sets itself up: it needs Python 3.11 or later and make, nothing else.

PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAB_READY := $(VENV)/.ready-for-the-lab
PYTEST := $(BIN)/python -m pytest --quiet --dist worksteal
TIMED = $(shell grep -rl --include='test_*.py' 'mark\.timed' tests)

# A file of all that is to be installed, with hashes; without one, what pyproject.toml asks for is taken as it is today.
LOCK ?=
LAB_EXTRAS := bottle,dbsc,devices,django,flask,pyramid
EXTRAS := $(LAB_EXTRAS),cli,mariadb,memcached,opentelemetry,postgresql,prometheus,redis,seal

# Whoever has asked for no bytecode would have all of it compiled anew by every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-lowest test-only others soak sealed bound mutants gates compare compare-lock check docs sdist-test audit lock bench capacity instructions drawing screenshots clean

help:
	@echo "On two processors; the first target also makes $(VENV), which takes a minute or more."
	@echo
	@echo "make demo           seconds      serve the session lab on http://127.0.0.1:8000; on another store: STORE=redis://..."
	@echo "make check          1 minute     check types and style"
	@echo "make docs           1 minute     make the book, in build/docs; what is wrong in it is an error"
	@echo "make sdist-test     1 minute     make the packages, in build/dist, and run tests in the unpacked source package"
	@echo "make audit          1 minute     look the packages of .ci/requirements.txt up among those with known holes"
	@echo "make lock           1 minute     choose the packages that CI installs anew: .ci/requirements.txt and .ci/lowest.txt"
	@echo "make compare-lock   1 minute     choose the packages of make compare: benchmarks/peers/requirements.txt"
	@echo "make drawing        1 minute     draw which module imports which, for the book; it needs Graphviz"
	@echo "make screenshots    1 minute     make the pictures in docs/ anew; it needs Chromium and pngquant"
	@echo "make instructions   1 minute     count the instructions of a request, compare with the kept counts; it needs Valgrind"
	@echo "make others         2 minutes    run Django's own tests, and those of others, over our sessions; one: SUITE=otp"
	@echo "make test-lowest    4 minutes    run the tests with the lowest versions that pyproject.toml allows, in .venv-lowest"
	@echo "make sealed         5 minutes    run the tests of sessions, of races and of frameworks once more, with sealed sessions"
	@echo "make bound          5 minutes    run the tests of sessions, of races and of frameworks once more, and offer to bind"
	@echo "make bench          10 minutes   measure the speed against an application without sessions and stores used by hand"
	@echo "make capacity       10 minutes   measure what a million sessions take in each store, for the plan of capacity"
	@echo "make test           11 minutes   make check, run the tests, measure coverage"
	@echo "make mutants        15 minutes   change the core in one place after another: which changes do its tests not see?"
	@echo "make compare        20 minutes   measure other session libraries beside this one, in .venv-peers; less: QUICK=1"
	@echo "make soak           22 minutes   run the long tests"
	@echo "make gates          600 minutes  run the tests of docs/reference/gates.md at their full counts"
	@echo "make clean          a second     remove what these targets made"
	@echo
	@echo "On another Python, in an environment of its own: make test PYTHON=python3.13"

# What the lab needs on a store without a server is less, and sooner there.
$(LAB_READY): WHAT := --group examples --editable '.[$(LAB_EXTRAS)]'
$(READY): WHAT := --group dev --editable '.[$(EXTRAS)]'
$(LAB_READY) $(READY): PIP := $(BIN)/python -m pip --disable-pip-version-check
$(LAB_READY) $(READY): pyproject.toml setup.cfg $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; name it: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what is needed into $(VENV); the first time that takes a minute or more ..."
ifdef LOCK
	@$(PIP) install --require-hashes --requirement $(LOCK)
	@$(PIP) install --no-deps --no-build-isolation --editable .
else
	@$(BIN)/python -c 'import pip, sys; sys.exit([*map(int, pip.__version__.split(".")[:2])] < [25, 1])' \
		|| $(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install $(WHAT)
endif
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
	@$(PYTEST) -n auto --cov --cov-append --cov-report= -m "not soak and timed" $(TIMED)
	@$(BIN)/coverage report --skip-covered --fail-under=95
	@$(BIN)/coverage report --skip-covered --fail-under=100 --include=$(CORE)

# What the package needs is old there, and what its tests need is not. The lab and the servers are tested with what is new.
test-lowest:
	@$(MAKE) --no-print-directory VENV=.venv-lowest LOCK=.ci/lowest.txt test-only

test-only: $(READY)
	@$(PYTEST) -n auto -m "not soak and not timed" --ignore tests/lab --ignore tests/others --ignore tests/package --ignore tests/servers

others: $(READY)
	@$(BIN)/python -m tests.others $(SUITE)

soak: $(READY)
	@echo "Testing at length ..."
	@$(PYTEST) -n auto -m "soak and not timed"
	@$(PYTEST) -n auto -m "soak and timed" $(TIMED)

gates: export SESSION_MIDDLEWARE_GATES := 1
gates: soak
	@echo "Testing what else the gates name at full counts ..."
	@$(PYTEST) -n auto -m "not soak and not timed" $$($(BIN)/python -m docs.gates)
	@$(PYTEST) -n auto -m "not soak and timed" $$($(BIN)/python -m docs.gates)

sealed: $(READY)
	@echo "Testing with sealed sessions ..."
	@$(PYTEST) -n auto --sealed -m "not soak and not timed" tests/sessions tests/protocol tests/takeover tests/races tests/model tests/integrations tests/devices tests/stores/moving

bound: $(READY)
	@echo "Testing with sessions that devices are offered to bind ..."
	@$(PYTEST) -n auto --bound -m "not soak and not timed" tests/sessions tests/wsgi tests/cookies tests/takeover tests/races tests/integrations tests/observers tests/devices

mutants: $(READY)
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --group mutation
	@echo "Testing mutants; one module: $(BIN)/python -m tests.mutation rules"
	@$(BIN)/python -m tests.mutation

docs: $(READY)
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs
	@echo "The book is in build/docs/index.html."

# In the unpacked source package there is no git, and no file of this directory.
sdist-test: $(READY)
	@rm -rf build/dist build/sdist
	@mkdir -p build/sdist
	@$(BIN)/python -m build --no-isolation --outdir build/dist .
	@tar --extract --file build/dist/*.tar.gz --directory build/sdist --strip-components 1
	@echo "Testing in the unpacked source package ..."
	@cd build/sdist && env -u SESSION_MIDDLEWARE_NO_SKIPS $(abspath $(BIN))/python -m pytest --quiet -p no:cacheprovider -n auto -m "not soak and not timed" $(IN_SDIST)
	@cd build/sdist && $(abspath $(BIN))/python -m sphinx --fail-on-warning --keep-going --quiet docs build/docs

audit: $(READY)
	@$(BIN)/pip-audit --require-hashes --disable-pip --progress-spinner off --format json \
		--requirement .ci/requirements.txt 2>/dev/null | $(BIN)/python .ci/audit.py

lock: $(READY)
	@mkdir -p build
	@$(CHOOSE) --generate-hashes --universal --group dev --output-file .ci/requirements.txt
	@$(CHOOSE) --resolution lowest-direct --output-file build/lowest.txt
	@$(CHOOSE) --generate-hashes --constraint build/lowest.txt --group lint --group test --output-file .ci/lowest.txt

CHOOSE := $(BIN)/uv pip compile pyproject.toml --no-strip-extras --all-extras --python-version 3.11 --upgrade --quiet \
	--no-annotate --custom-compile-command 'make lock'
IN_SDIST := tests/package tests/test_examples.py tests/stores/test_memory.py tests/wsgi/test_commit.py

bench: $(READY)
	@$(BIN)/python -m benchmarks

capacity: $(READY)
	@$(BIN)/python -m benchmarks.capacity
	@$(BIN)/python -m docs.capacity

PEERS := .venv-peers/bin/python
PEERS_WANTED := benchmarks/peers/requirements

# Other libraries, as they are pinned there; nothing of it is needed by the package, or by its tests.
.venv-peers/.ready: $(PEERS_WANTED).txt
	@test -x $(PEERS) || $(PYTHON) -m venv .venv-peers
	@$(PEERS) -m pip --disable-pip-version-check install --quiet --require-hashes --requirement $<
	@touch $@

compare: .venv-peers/.ready
	@$(PEERS) -m benchmarks.peers $(if $(QUICK),--quick --output build/compared/results.json)
	@$(PEERS) -m benchmarks.peers.page $(if $(QUICK),build/compared/results.json)

compare-lock: $(READY)
	@$(BIN)/uv pip compile $(PEERS_WANTED).in --output-file $(PEERS_WANTED).txt --generate-hashes --universal \
		--python-version 3.11 --upgrade --quiet --no-annotate --custom-compile-command 'make compare-lock'

instructions: $(READY)
	@$(BIN)/python -m benchmarks.instructions

clean:
	rm -rf .venv* .others demo build *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

comma := ,
empty :=
space := $(empty) $(empty)
CORE := $(subst $(space),$(comma),$(patsubst %,session_middleware/%.py,clock frozen tokens lifetime notes codecs/* carry_over headers record moving rules values state facts session site_keys seal repository aliases limit commits takeover outage bound directory manager cookies config advice describing devices events telling health exchange binding/* middleware))
