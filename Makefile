# Every target installs what it needs; `make test` and `make demo` are all a fresh machine has to run.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
REQ    := .ci/requirements.txt
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml

.PHONY: venv lint type unit simulation soak replay test e2e bench profile crds demo demo-federation chart image clean requirements
.DEFAULT_GOAL := help
help: ; @grep -oE '^[a-z-]+:' Makefile | sort -u | tr '\n' ' '; echo

venv: $(VENV)/.stamp
$(VENV)/.stamp: $(REQ) pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(REQ)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	touch $@

lint: venv ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-logo
type: venv ; $(BIN)/mypy -p meshca -p e2e && $(BIN)/mypy tests
unit: venv ; $(BIN)/pytest tests --ignore=tests/simulation -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=95 $(ARGS) && $(BIN)/coverage report --include='*/pki/*,*/planning/*' --fail-under=100
simulation: venv ; $(BIN)/pytest tests/simulation -n 2 $(ARGS)
soak: venv ; $(BIN)/python -m tests.simulation --soak $(or $(SEEDS),1000)
replay: venv ; $(BIN)/python -m tests.simulation $(SEEDS)
test: venv ; $(BIN)/python -m e2e.suite
e2e: venv ; $(BIN)/pytest $(or $(PART),e2e) $(ARGS)
bench: venv ; $(BIN)/python -m e2e.bench $(ARGS)
profile: venv ; $(BIN)/python -m e2e.bench.profile $(ARGS)
crds: venv ; $(BIN)/python -m meshca.api.generate && $(BIN)/python -m meshca.server.metrics_doc docs/metrics.md && $(BIN)/python -m meshca.server.phases_doc docs/rotation.md
demo: venv ; $(BIN)/python -m e2e.demo
demo-federation: venv ; $(BIN)/python -m e2e.federation.demo
chart: venv ; $(BIN)/python -m e2e.chart
image: venv ; $(BIN)/python -m e2e.image
clean: ; rm -rf $(VENV) build dist operator/*.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

requirements: venv
	$(BIN)/pip install --quiet uv
	$(COMPILE) -o .ci/requirements-run.txt
	$(COMPILE) --extra dev --extra e2e --extra cli --extra bench -o $(REQ)
