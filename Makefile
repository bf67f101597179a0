# Thin names for the project's jobs. Needs: Python 3.11+ with venv, make, a C++20 compiler.
# Everything else (cmake, ninja, pytest, …) is fetched from the package index into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PATH := $(CURDIR)/$(BIN):$(PATH)
# -n 2 where two cores are: the machine's count, at most 4
JOBS   := $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)

NATIVE_SOURCES := CMakeLists.txt pyproject.toml $(shell find native/include native/src native/bindings -type f 2>/dev/null) src/volsched/engine/_rows.pyx

.PHONY: demo test test-python test-native test-asan test-tsan test-csi test-oracle oracle simulation bench bench-quick bench-compare bench-growth bench-reference bench-docs bench-peers lint types format stubs build clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

demo: build ## build, then play the main story on the embedded cluster
	@$(BIN)/volsched demo

build: $(VENV)/.stamp-built ## build the native modules and install volsched into .venv (editable)

$(VENV)/.stamp-venv:
	@echo "creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "volsched needs Python 3.11 or newer, " + sys.executable + " is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.stamp-build-tools: $(VENV)/.stamp-venv pyproject.toml
	@echo "fetching build tools"
	@$(PIP) --group build
	@touch $@

$(VENV)/.stamp-dev-tools: $(VENV)/.stamp-venv pyproject.toml
	@echo "fetching test and lint tools"
	@$(PIP) --group dev
	@touch $@

$(VENV)/.stamp-built: $(VENV)/.stamp-build-tools $(NATIVE_SOURCES)
	@echo "building volsched"
	@$(PIP) --no-build-isolation -e '.[csi]'
	@touch $@

test: test-python test-native ## every test that needs no other toolchain

test-python: build $(VENV)/.stamp-dev-tools
	@$(BIN)/python -m pytest -q -n $(JOBS)

test-native: $(VENV)/.stamp-build-tools
	@if ! printf '#include <gtest/gtest.h>\n' | $${CXX:-c++} -std=c++20 -E -x c++ - >/dev/null 2>&1; then \
	  if [ -n "$$VOLSCHED_REQUIRE_GTEST" ]; then echo "native tests: GoogleTest not found (Debian: libgtest-dev)"; exit 1; fi; \
	  echo "native tests: skipped, GoogleTest not found (Debian: apt-get install libgtest-dev)"; \
	else cmake --workflow --preset dev; fi

test-asan: $(VENV)/.stamp-build-tools ## native tests under the address and undefined-behaviour sanitizers
	@cmake --workflow --preset asan

test-tsan: $(VENV)/.stamp-build-tools ## native tests under the thread sanitizer
	@cmake --workflow --preset tsan

# $(call with_go,name,version,command): what needs Go is left out, saying so, where Go is not; VOLSCHED_REQUIRE_GO makes that an error.
with_go = if command -v go >/dev/null 2>&1; then $(3); \
	elif [ -n "$$VOLSCHED_REQUIRE_GO" ]; then echo "$(1): Go not found ($(2) or newer, https://go.dev)"; exit 1; \
	else echo "$(1): skipped, Go not found ($(2) or newer, https://go.dev)"; fi

# csi-sanity, built where its version is part of the path: a new version is a new file.
SANITY_VERSION := v5.6.0
SANITY := build/csi-sanity-$(SANITY_VERSION)/csi-sanity

$(SANITY):
	@echo "building csi-sanity $(SANITY_VERSION)"
	@GOBIN=$(CURDIR)/$(@D) nice go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@$(SANITY_VERSION)

test-csi: build $(VENV)/.stamp-dev-tools ## csi-sanity against the fake driver over a socket (needs Go)
	@$(call with_go,csi-sanity,1.25,$(MAKE) --no-print-directory $(SANITY) && VOLSCHED_CSI_SANITY=$(CURDIR)/$(SANITY) $(BIN)/python -m pytest -q -p no:cacheprovider tests/conformance)

# A program over kube-scheduler's own packages; its version stands in tests/oracle/go.mod.
ORACLE := build/oracle/oracle

$(ORACLE): $(wildcard tests/oracle/*.go tests/oracle/*/*.go) tests/oracle/go.mod tests/oracle/go.sum
	@echo "building the oracle out of $$(grep -o 'k8s.io/kubernetes v.*' tests/oracle/go.mod)"
	@cd tests/oracle && nice go build -buildvcs=false -o $(CURDIR)/$@ .

oracle: $(ORACLE) ## build the program that asks kube-scheduler's own code (needs Go)

test-oracle: build $(VENV)/.stamp-dev-tools ## engines against kube-scheduler's own code on random clusters (needs Go)
	@$(call with_go,oracle,1.26,$(MAKE) --no-print-directory $(ORACLE) && VOLSCHED_ORACLE=$(CURDIR)/$(ORACLE) $(BIN)/python -m pytest -q -n $(JOBS) -p no:cacheprovider tests/parity/test_oracle.py)

SEEDS ?= 200
FIRST ?= 0

simulation: build $(VENV)/.stamp-dev-tools ## users and faults by seed: SEEDS=200 FIRST=0 (docs/simulation.md)
	@$(BIN)/python -m tests.simulation.run --seeds $(SEEDS) --first $(FIRST)

BENCH := $(BIN)/python -m pytest bench -q --benchmark-enable --benchmark-only --benchmark-sort=name --benchmark-columns=median,iqr,min,rounds
# A release line has one committed result, which docs/benchmarks.md is made from.
RELEASE_LINE := $(shell sed -nE 's/^version = "([0-9]+\.[0-9]+).*/\1/p' pyproject.toml)

bench: build $(VENV)/.stamp-dev-tools ## benchmarks with their baselines, kept in .benchmarks
	@$(BENCH) --benchmark-max-time=0.3 --benchmark-autosave

bench-quick: build $(VENV)/.stamp-dev-tools ## the same, small and not kept: a couple of minutes
	@$(BENCH) --benchmark-max-time=0.1 --scale small

bench-compare: bench ## benchmarks, then what became slower or larger since the last kept ones
	@$(BIN)/python -m bench.compare

bench-growth: build $(VENV)/.stamp-dev-tools ## how the time of a decision grows with nodes, volumes and claims
	@$(BIN)/python -m bench.growth --json build/growth.json

bench-reference: bench bench-growth ## measure anew what docs/benchmarks.md is made from
	@for run in 2 3; do $(BIN)/python -m bench.growth --json build/growth.json --again >/dev/null || exit; done
	@$(BIN)/python -m bench.kept --growth build/growth.json --to bench/results/$(RELEASE_LINE).json

bench-docs: build $(VENV)/.stamp-dev-tools ## docs/benchmarks.md and its figures, out of the committed result
	@$(BIN)/python -m bench.page

PEER := build/peers/kube-scheduler

$(PEER): $(wildcard bench/peers/kube-scheduler/* tests/oracle/cluster/*.go) tests/oracle/go.mod
	@echo "building the peer out of $$(grep -o 'k8s.io/kubernetes v.*' bench/peers/kube-scheduler/go.mod)"
	@cd bench/peers/kube-scheduler && nice go build -buildvcs=false -o $(CURDIR)/$@ .

bench-peers: build $(VENV)/.stamp-dev-tools ## speed beside kube-scheduler's own code, on the same workloads (needs Go)
	@$(call with_go,bench-peers,1.26,$(MAKE) --no-print-directory $(PEER) && $(BIN)/python -m bench.peers.run --program $(PEER))

lint: build $(VENV)/.stamp-dev-tools ## style, imports, native formatting
	@$(BIN)/ruff check src tests bench examples
	@$(BIN)/ruff format --check src tests bench examples
	@$(BIN)/lint-imports --no-cache
	@find native -name '*.?pp' | xargs $(BIN)/clang-format --dry-run --Werror

types: build $(VENV)/.stamp-dev-tools ## mypy, strict
	@$(BIN)/mypy

format: $(VENV)/.stamp-dev-tools ## rewrite sources in the project's format
	@$(BIN)/ruff check --fix-only -q src tests bench examples
	@$(BIN)/ruff format -q src tests bench examples
	@find native -name '*.?pp' | xargs $(BIN)/clang-format -i

stubs: build $(VENV)/.stamp-dev-tools ## write src/volsched/engine/_core.pyi anew
	@$(BIN)/python tests/codebase/stubs.py --write

clean: ## remove everything that was built
	rm -rf $(VENV) build

proto: $(VENV)/.stamp-dev-tools ## generate src/volsched/csi/_pb from csi.proto
	@$(BIN)/python -m grpc_tools.protoc -Ivolsched/csi/_pb=src/volsched/csi --python_out=src --pyi_out=src volsched/csi/_pb/csi.proto
