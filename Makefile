# Trainyard. `make` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
PYTHON ?= python3
# Test files run side by side; each worker makes its own small lakes and models.
WORKERS ?= 2
export PYTHONPATH := $(CURDIR)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export GX_ANALYTICS_ENABLED := False
# Where it is set (many images do), every process compiles its libraries anew, and every task is a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test test-long image test-compose unit lint airflow docs lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready ## make .venv and install requirements.lock

.venv/.ready: requirements.lock infra/check_machine.sh
	@bash infra/check_machine.sh "$(PYTHON)"
	@test -x $(PY) || "$(PYTHON)" -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check "uv>=0.8"
	@echo "installing requirements.lock (2.8 GB once unpacked) ..."
	@.venv/bin/uv pip sync --quiet --python $(PY) --link-mode copy requirements.lock
	@touch $@

demo: setup ## replay 2013 in real Airflow: ingest, train, score, monitor, retrain; goes on where it stopped
	@bash infra/check_machine.sh "$(PY)"
	@$(PY) -m pipelines demo $(if $(FRESH),--fresh)

airflow: setup ## look again: Airflow and MLflow on the present state, until Ctrl-C
	@$(PY) -m pipelines airflow

serve: setup ## answer with the champion by HTTP, on this machine only: USE_CASE=flight_delay, until Ctrl-C
	@$(PY) -m pipelines serve $(or $(USE_CASE),flight_delay)

test: setup lint schema-is-fresh ## lint, types, import contracts, unit tests, DAG tests, one end-to-end run in real Airflow
	@bash infra/check_machine.sh "$(PY)"
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "not e2e and not long and not compose"
	@$(PY) -m pytest -q -m "e2e and not long"

test-long: setup ## what takes longer than a change should wait for: ten thousand files, kills at every point, the guides, bulk against live, an outage, each key ignored
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "long and not e2e" --ignore tests/use_case
	@$(PY) -m pytest -q -m "long and e2e"
	@$(PY) -m pytest -q -n $(WORKERS) -m long tests/use_case

image: ## build the image of docker-compose.yaml, which then knows its commit
	@TRAINYARD_COMMIT=$$(git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null) docker compose build

test-compose: setup ## build and run the containers for real: two months, a training, kills, down and up; needs an engine
	@docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 || { echo "test-compose: no container engine answers here: NOTHING WAS TESTED" >&2; exit 1; }
	@$(PY) -m pytest -v -s -m compose tests/infra/test_containers.py

unit: setup ## only the tests without Airflow
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "not e2e and not long" $(foreach each,dags plugins infra docs e2e,--ignore tests/$(each)) tests

lint: setup ## ruff, mypy, import contracts
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo

.PHONY: schema-is-fresh
schema-is-fresh: setup
	@$(PY) -m pipelines schema | diff -q - conf/use_case.schema.json >/dev/null || { echo "conf/use_case.schema.json is stale: run make docs" >&2; exit 1; }

docs: setup ## write the generated files: conf/use_case.schema.json
	@$(PY) -m pipelines schema > conf/use_case.schema.json

lock: setup ## resolve requirements-dev.txt (all) into requirements.lock
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make lock" requirements-dev.txt -o requirements.lock

clean: ## stop what was left running and remove var/
	@if [ -x $(PY) ]; then $(PY) -m pipelines clean; else rm -rf var; fi
