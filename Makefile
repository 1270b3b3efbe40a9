# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
BENCH := .venv-bench
CLAIMS ?= linear topk all_users item_knn ials spark_als kernels gowalla scaling ingest serving frappe new_items compressed_items packed_weights code_scans
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)

# Test files go to so many workers; each has one thread.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test quick check bench docs changelog browser postgres clean

demo: $(VENV)/.demo
	$(BIN)/leanrec demo $(ARGS)

test: $(VENV)/.test browser postgres
	$(PYTEST) $(ARGS)

# While you work: without browsers, wheels, servers and long training, under three minutes.
quick: $(VENV)/.test
	$(PYTEST) -m "not system and not slow" $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One script for each claim: make bench CLAIMS="topk gowalla" ARGS=--quick. Data is found through LEANREC_DATA.
bench: $(BENCH)/.done $(if $(filter sasrec,$(CLAIMS)),.venv-rectools/.done)
	for claim in $(CLAIMS); do $(BENCH)/bin/python benchmarks/$$claim.py $(ARGS) || failed="$$failed $$claim"; done; \
	  test -z "$$failed" || { echo "These claims could not be measured:$$failed"; exit 1; }

# The peers live in an environment of their own, so that leanrec never comes to lean on them.
$(BENCH)/.done: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --upgrade "pip>=25.1"
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
	  --editable ".[plots,deep,text,onnx]" --requirement benchmarks/requirements.txt
	@touch $@

# RecTools needs an older NumPy than leanrec.
.venv-rectools/.done: benchmarks/requirements-rectools.txt
	$(PYTHON) -m venv .venv-rectools
	.venv-rectools/bin/python -m pip --disable-pip-version-check install --quiet --requirement benchmarks/requirements-rectools.txt
	@touch $@

docs: $(VENV)/.test
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

# The next changelog from the fragments in changelog.d; with VERSION=… it is written into CHANGELOG.md.
changelog: $(VENV)/.test
	$(BIN)/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft --version "next")

# The page tests drive a real browser.
browser:
	@{ command -v chromium && fc-list :lang=zh | grep -q .; } >/dev/null 2>&1 || { $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null; }

# The tests of an event log in PostgreSQL start a server of their own. Debian keeps its programs out of PATH.
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { $(SUDO) apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=25.1"

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[plots]"
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable ".[plots,text,sentiment,deep,tune,formats,postgres,redis,ann,onnx]" --group test --group check --group docs --group build
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) $(BENCH) build dist site .cache .mypy_cache .ruff_cache .pytest_cache
