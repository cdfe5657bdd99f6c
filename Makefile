# Two commands do everything: `make run` and `make test`. Both install what is missing and say so.
# The long parts (RocksDB, about 3 minutes; the crates, about 5) are built once per machine, in the
# user's cache folder, and shared by every clone.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/moneta
CARGO := .ci/cargo
DATA  ?= $(CACHE)/run

.PHONY: run build test test-real crash fuzz fixture bench peers check format clean help

help:
	@echo "make run     build, start the server on 127.0.0.1:8070 with this machine's own metrics"
	@echo "make test    build and run every test, real clients included"
	@echo "make test-real  beside the real monasca-api, its agent and their databases (fetched, not installed)"
	@echo "make crash   long tests of kills, power cuts and full disks: MONETA_CRASHES=500 MONETA_SEED=n"
	@echo "make fuzz    every decoder under mutated input: SECONDS=60 MONETA_SEED=n"
	@echo "make fixture writes the data directory that tests of the format open"
	@echo "make bench   micro-benchmarks (criterion)"
	@echo "make peers   beside VictoriaMetrics, InfluxDB, Prometheus: SAMPLES=10000000 LOADS='cpu mixed cardinality kill'"
	@echo "make check   format, clippy and docs, warnings as errors"
	@echo "make clean   remove the data directory of 'make run' and the build cache"

build: .ci/setup-build
	@.ci/setup-build
	@$(CARGO) build --release --locked --bin moneta

run: build
	@.ci/start "$(CACHE)/target/release/moneta" "$(DATA)"

test:
	@.ci/setup-build
	@.ci/setup-test
	@$(CARGO) nextest run --locked --workspace --no-fail-fast -E 'not binary(real)'

test-real:
	@.ci/setup-build
	@.ci/setup-test
	@.ci/setup-real
	@$(CARGO) nextest run --locked -p moneta-tests --no-fail-fast -E 'binary(real)'

crash:
	@.ci/setup-build
	@.ci/setup-test
	@MONETA_CRASHES=$(or $(MONETA_CRASHES),500) MONETA_SEED=$(or $(MONETA_SEED),$(shell date +%s)) \
	  MONETA_LOG_MB=$(or $(MONETA_LOG_MB),5000) \
	  $(CARGO) nextest run --locked -p moneta-tests --no-capture crash power_cut disk_full log_rules

# Each target of the fuzzer so many seconds; the memory an input may ask for is bounded as well.
fuzz:
	@.ci/setup-build
	@.ci/setup-test
	@ulimit -v 16000000; MONETA_FUZZ_SECONDS=$(or $(SECONDS),60) MONETA_SEED=$(or $(MONETA_SEED),$(shell date +%s)) \
	  $(CARGO) nextest run --locked -p moneta-storage -p moneta-server --no-fail-fast --success-output final fuzz

# Writes tests/fixtures/format-v1 anew. Only while format version 1 is not released.
fixture:
	@.ci/setup-build
	@.ci/setup-test
	@UPDATE=1 $(CARGO) nextest run --locked -p moneta-tests format::

bench:
	@.ci/setup-build
	@$(CARGO) bench --locked -p moneta-benches

# Fetches the peers' Debian packages and runs them in folders of their own; nothing is installed.
peers: build
	@.ci/peers

check:
	@.ci/setup-build
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

format:
	@cargo fmt --all

clean:
	rm -rf "$(CACHE)"
