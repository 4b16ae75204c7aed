# The commands for users and developers. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8080
PLAN ?= steady
LOAD ?=
PEERS ?=
BREAKING ?=
RUN := $(VENV)/.run
TEST := $(VENV)/.test
BENCH := $(VENV)/.bench
DOCS := $(VENV)/.docs
NATIVE := build/native/.installed
WITH_NATIVE := PYTHONPATH="$$(echo $(CURDIR)/build/native/lib/python*/site-packages)"
NATIVE_SOURCES := setup.py $(wildcard tokensvc/jose/signing/native/*)
NODE_PEERS := benchmarks/peers/node/node_modules/.package-lock.json
GENERATORS := build/generators/.installed
NODE_PACKAGES := $(patsubst %,%/node_modules/.package-lock.json,clients/js docs/examples/express)
MERMAID := docs/site/node_modules/.package-lock.json
unexport PYTHONDONTWRITEBYTECODE # the tests start hundreds of processes, each of which would compile everything again

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

demo: $(RUN) ## start everything embedded, with a channel, a key and a caller; PORT=9000 chooses the port
	$(VENV)/bin/tokensvc demo --port $(PORT)

CORES := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := $(VENV)/bin/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder
test: $(TEST) ## run all tests except the long ones
	$(PYTEST) -m "not long"

FAST := not long and not slow and not e2e and not postgres
test-fast: $(TEST) ## run the tests that need no server process and no PostgreSQL: under a minute
	$(PYTEST) -n $(CORES) -m "$(FAST)"

coverage: $(TEST) ## run the tests of `make test` and list the least covered files, branches included
	$(VENV)/bin/python -m coverage erase
	$(PYTEST) -m "not long" --cov --cov-report=
	$(VENV)/bin/python -m coverage report --sort=cover --skip-covered | sed -n '1,32p;$$p'

test-long: $(TEST) $(GENERATORS) $(if $(shell command -v npm 2>/dev/null),$(NODE_PACKAGES)) ## run the long tests: hostile connections, fuzzing, overload, restored stores (needs nginx and haproxy: make system-packages)
	$(PYTEST) -n $$(($(CORES) + 2)) -m "long and not timing"
	$(VENV)/bin/python -m pytest -q -m timing

check: $(TEST) ## check format, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

docs: $(DOCS) $(MERMAID) ## build the documentation's site into build/site; fails on a broken link or anchor (needs npm)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "built: build/site/index.html"

reference: $(TEST) ## write the generated parts of docs/ anew, after a change to what they describe; BREAKING=accepted stores an API that breaks clients
	$(VENV)/bin/python -m docs.generator $(if $(filter accepted,$(BREAKING)),--accept-breaking-changes)

bench: $(BENCH) ## measure the figures of docs/performance.md, except those of the peers (needs wrk; 17 minutes)
	$(VENV)/bin/python -m benchmarks.sign
	$(VENV)/bin/python -m benchmarks.signers
	$(VENV)/bin/python -m benchmarks.http
	$(VENV)/bin/python -m benchmarks.connections
	$(VENV)/bin/python -m benchmarks.overload
	$(VENV)/bin/python -m benchmarks.ivs
	$(VENV)/bin/python -m benchmarks.edge
	$(VENV)/bin/python -m benchmarks.revocations
	$(VENV)/bin/python -m benchmarks.rotation
	$(VENV)/bin/python -m benchmarks.scale
	$(VENV)/bin/python -m benchmarks.authorization
	$(VENV)/bin/python -m benchmarks.start
	$(VENV)/bin/python -m benchmarks.tracing
	$(VENV)/bin/python -m benchmarks.commands

bench-peers: $(BENCH) $(if $(shell command -v npm 2>/dev/null),$(NODE_PEERS)) ## compare with PyJWT, Node, Go and moto in one run; PEERS="--rounds 25" passes options
	$(VENV)/bin/python -m benchmarks.peers $(PEERS)

bench-guard: $(BENCH) ## fail if a token has become more expensive, by ratios that hold on noisy machines
	$(VENV)/bin/python -m benchmarks.guard

load: $(BENCH) ## run an open-loop load test; PLAN=rotation selects a plan, LOAD="--processes 2" passes options
	$(VENV)/bin/python -m benchmarks.load $(PLAN) $(LOAD)

SYSTEM_PACKAGES := wrk openssl curl valgrind ffmpeg nginx haproxy caddy chromium prometheus redis-server systemd zsh fish man-db groff
system-packages: ## install what some tests, benchmarks and `make docs` need from Debian: wrk, openssl, curl, valgrind, ffmpeg, nginx, haproxy, caddy, chromium, prometheus, redis-server, systemd, zsh, fish, man-db, groff, npm
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES) $(if $(shell command -v npm 2>/dev/null),,npm)

IMAGE_PACKAGES := mmdebstrap buildah podman runc
system-packages-image: ## install what the tests of the container image need from Debian: mmdebstrap, buildah, podman, runc
	apt-get update -qq && apt-get install -y -qq --no-install-recommends $(IMAGE_PACKAGES)

BUILD := $(WITH_NATIVE) $(abspath $(VENV))/bin/python -m build --no-isolation
sdist: $(TEST) ## build the source distribution into dist/
	rm -rf dist build/sdist && mkdir -p build/sdist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || date +%s) $(BUILD) --sdist --outdir dist > build/sdist.log 2>&1
	tar -xzf dist/*.tar.gz -C build/sdist --strip-components 1

wheels: sdist ## build from it into dist/ a pure wheel, and one for x86-64 Linux with the C extension
	export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || date +%s) && cd build/sdist && \
	$(BUILD) --wheel --outdir $(CURDIR)/dist --config-setting native=off > ../wheels.log 2>&1 && rm -rf build && \
	$(BUILD) --wheel --outdir wheel >> ../wheels.log 2>&1
	PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/auditwheel repair --wheel-dir dist build/sdist/wheel/*-linux_*.whl > /dev/null || echo "no wheel with the C extension: it could not be built here"
	rm -rf build/sdist && ls dist

bench-packages: $(BENCH) ## install the Python packages that the benchmarks and their tests need

format: $(TEST) ## format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

LOCK := $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
SERVICE := pyproject.toml --extra postgres --extra redis --extra otel
LOCAL_IVS := --extra media --extra geoip
lock: $(RUN) ## regenerate the lock files from pyproject.toml and requirements/*.in
	$(VENV)/bin/pip install -q uv
	$(LOCK) --upgrade $(SERVICE) requirements/build.in -o requirements/run.txt
	$(LOCK) --upgrade $(SERVICE) $(LOCAL_IVS) requirements/build.in requirements/test.in -c requirements/run.txt -o requirements/test.txt
	$(LOCK) --upgrade $(SERVICE) $(LOCAL_IVS) requirements/build.in requirements/test.in requirements/bench.in -c requirements/test.txt -o requirements/bench.txt
	$(LOCK) --upgrade requirements/docs.in -c requirements/bench.txt -o requirements/docs.txt
	$(LOCK) --upgrade $(SERVICE) -c requirements/run.txt -o requirements/image.txt
	$(LOCK) --upgrade requirements/build.in requirements/image-build.in -c requirements/bench.txt -o requirements/image-build.txt
	$(LOCK) requirements/native.in -o requirements/native.txt
	$(LOCK) --upgrade requirements/generators.in -o requirements/generators.txt

clean: ## remove the environments, build results and the demo's state (keys/ stays)
	rm -rf .venv .venv-* .demo .coverage* build dist *.egg-info tokensvc/jose/signing/*.so benchmarks/peers/node/node_modules docs/site/node_modules $(dir $(NODE_PACKAGES))

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(RUN): requirements/run.txt pyproject.toml $(NATIVE) $(NATIVE_SOURCES) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(WITH_NATIVE) $(VENV)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(NATIVE): requirements/native.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --prefix build/native --require-hashes -r $< || echo "built without the multi-buffer signer: its libraries cannot be had here"
	mkdir -p $(@D) && touch $@

$(TEST): $(RUN) requirements/test.txt
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/test.txt
	touch $@

$(BENCH): $(TEST) requirements/bench.txt
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

$(DOCS): requirements/docs.txt | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/docs.txt
	touch $@

$(MERMAID): docs/site/package-lock.json
	cd docs/site && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

$(GENERATORS): requirements/generators.txt tests/openapi/programs/package-lock.json | $(VENV)/bin/python
	rm -rf $(@D) && mkdir -p $(@D) && cp tests/openapi/programs/package*.json $(@D)
	$(VENV)/bin/python -m venv $(@D)/venv
	$(@D)/venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $< || rm -rf $(@D)/venv
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || echo "the generator for TypeScript could not be installed: its test will be skipped"
	touch $@

$(NODE_PACKAGES): %/node_modules/.package-lock.json: %/package-lock.json
	cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || echo "the packages of $* could not be installed: their tests will be skipped"

$(NODE_PEERS): benchmarks/peers/node/package-lock.json
	cd benchmarks/peers/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || echo "the Node peers could not be installed and will be skipped"

.PHONY: help demo test test-fast test-long coverage check docs reference bench bench-peers bench-guard load system-packages system-packages-image bench-packages format sdist wheels lock clean
