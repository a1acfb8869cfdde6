# make setup   the control node's tools in .venv, from the lock
# make demo    one throwaway host on this machine serves a tiny model and answers a chat
# make test    lint, sanity, unit tests, every scenario but those run by name (tools/run_tests faults multihost image)
# make docs    the documentation's site, in build/docs/html
# The distribution's own Python where ansible-core supports it: one built by hand is often built without optimization.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
  $$python -c '$(SUPPORTED)' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: setup demo test check docs lint unit lock
setup: .venv/.synced

demo: setup
	tools/demo

.venv/.synced: requirements.lock
	@test -n "$(PYTHON)" || { echo 'expected Python 3.11 to 3.13, found none: install one, or set PYTHON=path' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r .config/bootstrap.txt
	$(BIN)/uv pip sync -q --compile-bytecode requirements.lock
	@touch $@

lint: setup
	ruff check .
	ruff format --check .
	mypy plugins/module_utils

unit: setup
	pytest

# What a contributor runs before each push: no host is booted.
check: setup
	tools/run_tests lint unit sanity package

test: setup
	tools/run_tests

docs: setup
	tools/docs_site

lock: setup
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --extra test pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url \
	  roles/common/files/tools.in -o roles/common/files/tools.txt
	uv pip compile -q --universal --python-version 3.10 --generate-hashes --no-header --no-emit-index-url \
	  roles/mirror/files/olah.in -o roles/mirror/files/olah.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  .config/docs.in -o .config/docs.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  .config/release.in -o .config/release.txt
