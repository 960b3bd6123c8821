# Everything here works with Python >= 3.11 and make; the locks bring the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export UV_PYTHON_DOWNLOADS := never
# The tests start hundreds of interpreters: compile each module once, and leave the checkout clean.
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache
unexport PYTHONDONTWRITEBYTECODE
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --no-emit-package queueworker $(LOCK_FLAGS)
READY := $(VENV)/.ready
NODE_READY := tests/node/node_modules/.ready
SOURCES := client/src worker/src operator/src

.DEFAULT_GOAL := help
.PHONY: help setup node lock format check test test-fast soak demo bench kind images

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment and install the locked requirements

$(READY): requirements/build.txt requirements/dev.txt client/pyproject.toml worker/pyproject.toml operator/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps -e client -e worker -e operator
	touch $@

node: $(NODE_READY) ## BullMQ for Node, which tests and measurements run beside ours (tests/node)

$(NODE_READY): tests/node/package.json tests/node/package-lock.json tests/node/.npmrc | $(READY)
	$(BIN)/python tests/nodeside.py
	touch $@

lock: $(READY) ## compile requirements/*.txt anew from the pyproject files (LOCK_FLAGS=--upgrade for newer versions)
	$(LOCK) client/pyproject.toml -o requirements/client.txt
	$(LOCK) worker/pyproject.toml --extra uvloop -o requirements/worker.txt
	$(LOCK) worker/pyproject.toml --extra uvloop --extra processors -c requirements/worker.txt -o requirements/processors.txt
	$(LOCK) operator/pyproject.toml -o requirements/operator.txt
	$(LOCK) --extra charts --extra embedded --extra processors --extra uvloop client/pyproject.toml worker/pyproject.toml operator/pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(LOCK) requirements/cluster.in -o requirements/cluster.txt
	$(LOCK) requirements/bench.in -o requirements/bench.txt
	printf "uv\nhatchling\neditables\n" | $(LOCK) -c requirements/dev.txt - -o requirements/build.txt

format: $(READY) ## format the sources and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(READY) ## lint, types, layers and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Most of the time is waiting for real servers, so three at once fit two cores; PARALLEL= runs one after another.
PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
# A bound in seconds is held with nothing beside it. What else the machine does cannot be kept away: a bound that it
# broke is measured again, twice at most, and the output counts each time.
TIMED_ALONE := --reruns 2 --only-rerun AssertionError

test: $(READY) $(NODE_READY) cluster-build ## every test, on real servers; the first run builds the control plane (minutes)
	status=0; \
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_FLAGS) -m "not soak and not timing" || status=$$?; \
	$(BIN)/python -m pytest $(TIMED_ALONE) $(PYTEST_FLAGS) -m "timing and not soak" || status=$$?; \
	exit $$status

test-fast: $(READY) ## the pure tests only, seconds
	$(BIN)/python -m pytest $(PYTEST_FLAGS) tests/unit tests/chart

demo: $(READY) ## the main job on embedded servers: a burst of jobs, workers from 0 to N and back to 0, a summary
	@$(BIN)/python -m examples.demo

soak: $(READY) cluster-build ## the long tests
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m soak --timeout 3600

.PHONY: cluster-build cluster-up cluster-down
cluster-build: $(READY) ## build the Kubernetes control plane for the tests, once (tools/cluster)
	PYTHONPATH=tools/cluster $(BIN)/python -m controlplane build

cluster-up: $(READY) ## start a Kubernetes control plane on this host and say how to use it
	@PYTHONPATH=tools/cluster $(BIN)/python -m controlplane up

cluster-down: $(READY) ## end the control plane of cluster-up
	@PYTHONPATH=tools/cluster $(BIN)/python -m controlplane down

.PHONY: crds
crds: $(READY) ## write the CRD from the models: crds/ and the chart's copy
	$(BIN)/python -m queueworker_operator.cli.crd > crds/queueworkers.yaml.new
	$(BIN)/python -m queueworker_operator.cli.crd --chart > charts/queueworker/templates/crds/queueworkers.yaml.new
	for file in crds charts/queueworker/templates/crds; do mv $$file/queueworkers.yaml.new $$file/queueworkers.yaml; done

BUILDER ?= $(shell command -v docker || command -v buildah)
BASE ?= python:3.13-slim-bookworm
VERSION := 0.1.0

images: ## build the images with docker or buildah (BASE=... for another base image)
	test -n "$(BUILDER)" || { echo "images: docker or buildah is needed, neither was found" >&2; exit 1; }
	$(BUILDER) build --build-arg BASE=$(BASE) -f Dockerfile.operator -t localhost/queueworker-operator:$(VERSION) .
	$(BUILDER) build --build-arg BASE=$(BASE) -f Dockerfile.worker --target runtime -t localhost/queueworker-worker:$(VERSION) .
	$(BUILDER) build --build-arg BASE=$(BASE) -f Dockerfile.worker --target processors -t localhost/queueworker-processors:$(VERSION) .

kind: images ## a kind cluster with the operator in it (needs docker, kind and helm)
	for tool in docker kind helm; do command -v $$tool >/dev/null || { echo "kind: $$tool is needed and was not found" >&2; exit 1; }; done
	kind get clusters | grep -qx queueworker || kind create cluster --config kind-config.yaml
	for image in operator worker processors; do kind load docker-image --name queueworker localhost/queueworker-$$image:$(VERSION); done
	helm upgrade --install queueworker charts/queueworker --namespace queueworker-system --create-namespace --wait

bench: $(READY) ## measure reading queues and adding jobs (bench/README.md); JSON on stdout
	PYTHONPATH=tests $(BIN)/python bench/queuereads.py
	PYTHONPATH=tests $(BIN)/python bench/bursts.py

.PHONY: bench-scaling
bench-scaling: $(READY) cluster-build ## measure the autoscaler, 40 minutes (PARTS="burst crowd fleet-1000 fleet-5000 busy traces": less)
	@PYTHONPATH=tools/cluster:tests:tests/cluster:. $(BIN)/python -m bench.scaling $(PARTS) $(BENCH_FLAGS)

.PHONY: bench-keda
bench-keda: $(READY) cluster-build ## measure KEDA and an HPA beside it, 15 minutes after a first build of 8 (PARTS="scale-out rest": less)
	@PYTHONPATH=tools/cluster:tests:tests/cluster:. $(BIN)/python -m bench.keda $(PARTS) $(BENCH_FLAGS)

.PHONY: bench-venv bench-worker
PEERS := .venv-bench
PARTS ?=
bench-venv: $(PEERS)/.ready ## make the environment of the peers that bench-worker measures (.venv-bench)

$(PEERS)/.ready: requirements/bench.txt $(READY)
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv --without-pip $(PEERS)
	$(BIN)/uv pip sync --quiet --python $(PEERS)/bin/python --require-hashes requirements/bench.txt
	touch $@

bench-worker: $(NODE_READY) $(PEERS)/.ready ## measure the worker beside its peers, 20 minutes (PARTS="throughput …" or QUICK=1: less, and nothing written)
	$(BIN)/python -m bench.worker $(PARTS) $(if $(QUICK),--quick) $(if $(PARTS)$(QUICK),,--write) --goals $(BENCH_FLAGS)
