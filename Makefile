# Needs Python 3.11 or later and nothing else: each target first makes .venv from requirements.lock.

VENV := .venv
BIN := $(VENV)/bin

# Which Python makes .venv; by default python3.11 if it works, else python3.
PYTHON ?=
# Passed on: make test PYTEST_FLAGS=-x, make bench BENCH_FLAGS=--quick, make lock LOCK_FLAGS=--upgrade
PYTEST_FLAGS ?=
BENCH_FLAGS ?=
LOCK_FLAGS ?=

# What the caller's shell has set for another Python must not reach this one.
unexport PYTHONHOME PYTHONPATH

# Puts the Python to use into $$python, or says what is missing.
define find_python
	for python in $(PYTHON) $(if $(PYTHON),,python3.11 python3); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	    >/dev/null 2>&1; then break; fi; \
	  found="$$found; $$python: $$("$$python" --version 2>&1 | tail -n 1 || true)"; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or later with its venv module is needed; found$${found#;}" >&2; \
	  echo "Install it (Debian and Ubuntu: python3 and python3-venv), or name one:" >&2; \
	  echo "  make PYTHON=/path/to/python3.11 ..." >&2; \
	  exit 1; \
	fi
endef

.DEFAULT_GOAL := help
.PHONY: demo test test-nojit soak check bench lock clean help

# What has kernels; the rest would say the same of them as plain Python, only later.
WITH_KERNELS := detectors fleet kernels placement telemetry
COMPILED_ONLY := detectors/test_failure_risk.py \
  $(addprefix placement/test_,explain.py storms.py story.py)

## The tour: a simulated fleet, what is found in it, and what is proposed
demo: $(VENV)/.installed
	@$(BIN)/aiops demo

## The tests, with compiled kernels
test: $(VENV)/.installed
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

## The tests of what has kernels again, with the kernels as plain Python
test-nojit: $(VENV)/.installed
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest $(addprefix tests/,$(WITH_KERNELS)) \
	  $(addprefix --ignore=tests/,$(COMPILED_ONLY)) $(PYTEST_FLAGS)

## The long versions: 1,000 kills, 10,000 power cuts, a million hostile payloads (an hour)
soak: $(VENV)/.installed
	$(BIN)/python -m tests.service.soak

## Style, format, types, and which room imports which
check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict aiops
	$(BIN)/lint-imports --no-logo

## Each benchmark, in a process of its own, into benchmarks/results/
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/_all.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/_tables.py

## A new requirements.lock from pyproject.toml; LOCK_FLAGS=--upgrade takes newer versions
lock:
	@$(find_python); "$$python" -m venv --clear .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra serve \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header $(LOCK_FLAGS) \
	  --output-file requirements.lock pyproject.toml
	rm -rf .venv-lock

## Remove .venv and all that tools and runs leave behind (benchmarks/results/ stays)
clean:
	rm -rf $(VENV) .venv-lock build dist out .hypothesis .import_linter_cache .mypy_cache \
	  .pytest_cache .ruff_cache
	find aiops benchmarks tests -type d -name __pycache__ -prune -exec rm -rf {} +

## This list
help:
	@awk '/^## /{ what = substr($$0, 4) } \
	  /^[a-z-]+:/{ if (what) printf "make %-11s %s\n", substr($$1, 1, length($$1) - 1), what; what = "" }' \
	  Makefile

# What the lock names, and nothing else: a changed lock starts from an empty .venv.
$(VENV)/.locked: requirements.lock
	@echo "Making $(VENV) from requirements.lock (about a minute; some 1.2 GB on disk)"
	@$(find_python); "$$python" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
	  -r requirements.lock
	@touch $@

# The project itself, in place: needs no network, as the lock holds what builds it.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --editable .
	@touch $@
