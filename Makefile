# Everything there is to do here. `make help` lists it.

SHELL := /bin/sh
CARGO ?= cargo
# Where the servers and tools live that only tests need.
TEST_SERVERS := target/test-servers
# Where sharp is installed, and where the report goes.
BENCH := target/bench
# A release as it is built here keeps what panics need to name their lines; `.ci/split-debug.sh` puts it into a file of its own.
export CARGO_PROFILE_RELEASE_STRIP := none
# What `make test-quick` leaves out: what takes minutes, and what needs something of `make test-servers`.
QUICK := --skip battery:: --skip kill:: --skip restart:: \
	--skip pixels::memory:: --skip pixels::avif_engines:: --skip pixels::large:: \
	--skip description::schemathesis:: --skip description::client:: \
	--skip conformance::gcs:: --skip gcs_bucket --skip end_to_end::stores:: --skip one_store_is_down
# Where cargo's own tools are installed that only some targets need.
TOOLS := target/tools

.DEFAULT_GOAL := help
.PHONY: help run build image deb setup test-servers test test-otel test-quick postman bench bench-avif bench-quality bench-steps bench-metrics bench-nodes bench-serving corpus battery battery-nodes soak fuzz deny check check-features fmt lint clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install what is missing, build, start the server, and print a page, a token and a command to try it with
	@sh .ci/setup.sh build
	@$(MAKE) --no-print-directory build
	@./target/release/pixerve serve --demo

build: ## Build target/release/pixerve; pixerve.debug beside it lets panics name their lines
	$(CARGO) build --release --locked
	@sh .ci/split-debug.sh target/release/pixerve

image: ## Build an image of this tree by docker or podman, as pixerve:VERSION; FEATURES=input-heic for more than the default
	@FEATURES="$(FEATURES)" sh .ci/image.sh pixerve

deb: ## Build a Debian package of this tree, in target/debian
	@sh .ci/setup.sh build
	@$(MAKE) --no-print-directory build
	@sh .ci/manual.sh target/release/pixerve target/release/manual
	@sh .ci/cargo-deb.sh $(TOOLS)
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" $(CARGO) deb --locked --no-build --no-strip

setup: ## Install what building and testing need and is missing
	@sh .ci/setup.sh build test

test-servers: ## Install what tests talk to, all under target/: a GCS emulator, Valkey, newman, Schemathesis, a maker of clients
	@sh .ci/test-servers.sh $(TEST_SERVERS)

test: ## Run all tests, the Postman collection included
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory test-servers
	@sh .ci/browser.sh $(TEST_SERVERS)
	$(CARGO) test --locked
	@$(MAKE) --no-print-directory test-otel
	@$(MAKE) --no-print-directory postman

test-otel: ## Run the tests of what the feature `otel` adds
	@# All of it shares its dependencies with the other tests; only Pixerve itself is compiled once more.
	$(CARGO) test --locked --features otel --test it -- traces::

test-quick: ## Run most tests, within a minute once built: no apt, no npm, no outside servers
	$(CARGO) test --locked --lib --bins --test it -- $(QUICK)

postman: test-servers ## Run the Postman collection against a server of its own
	@# Built as tests build it: a plain build chooses other features and would compile every dependency again.
	$(CARGO) test --locked --test it --no-run
	@sh .ci/postman.sh target/debug/pixerve $(TEST_SERVERS)

bench: ## Hold Pixerve against sharp, side by side, and print the table; BENCH_QUICK=1 for a fraction of it
	@sh .ci/setup.sh build test
	@sh .ci/bench.sh $(BENCH)
	$(CARGO) bench --locked --bench against_sharp
	@echo "The table is in $(BENCH)/report.md"

bench-avif: ## Time and bytes of AVIF at equal quality, beside sharp's at each effort
	@sh .ci/setup.sh build test
	@sh .ci/bench.sh $(BENCH)
	$(CARGO) bench --locked --bench avif_front

bench-steps: ## Time single steps: decoding, resizing, colour, each encoder
	$(CARGO) bench --locked --bench steps

bench-quality: ## Time, bytes and SSIMULACRA2 of every format at every speed and several qualities
	$(CARGO) bench --locked --bench quality

bench-metrics: ## Count the instructions that metrics, scraped each second, add to a job (takes valgrind)
	@sh .ci/setup.sh build test
	@$(MAKE) --no-print-directory build
	@sh .ci/metrics-cost.sh target/release/pixerve

bench-nodes: ## Uploads taken and jobs stored in a second by one, two and three nodes, beside one machine
	@sh .ci/setup.sh build test
	$(CARGO) bench --locked --bench nodes
	@echo "The table is in $(BENCH)/nodes.md"

bench-serving: ## Files as they are served, beside nginx with sendfile off on the same files; BENCH_QUICK=1 for a fraction of it
	@sh .ci/setup.sh build serving
	@$(MAKE) --no-print-directory build
	@python3 tests/bench/serving.py target/release/pixerve $(BENCH)/serving.md
	@echo "The table is in $(BENCH)/serving.md"

corpus: ## Show every file of PIXERVE_CORPUS or ../shared/corpus, beside what sharp makes of it
	@sh .ci/bench.sh $(BENCH)
	$(CARGO) bench --locked --bench corpus

battery: setup test-servers ## Everything hostile and unlucky, the long part too: crashes, faults, floods, attacks; shows what held
	@sh .ci/browser.sh $(TEST_SERVERS)
	@sh .ci/real-stores.sh $(TEST_SERVERS)
	@sh .ci/tiff-writer.sh $(TEST_SERVERS)
	@sh .ci/packaging.sh $(TEST_SERVERS) $(TOOLS)
	@sh .ci/battery.sh

battery-nodes: setup test-servers ## Nodes, and the Redis that they share, killed, stopped, emptied and cut off for PIXERVE_NODES_SECONDS (600) each way; upgraded from PIXERVE_OTHER_BUILD, a program of the release before
	$(CARGO) test --locked --test it -- battery::nodes --include-ignored --nocapture --test-threads 1

soak: setup test-servers ## Mixed load with kills and faults for PIXERVE_SOAK_SECONDS (1200)
	$(CARGO) test --locked --test it -- battery::soak --include-ignored --nocapture

fuzz: ## Fuzz what parses strangers' bytes, each target for FUZZ_SECONDS (60)
	@sh .ci/fuzz.sh $${FUZZ_SECONDS:-60}

deny: ## Hold every dependency to deny.toml: licences, sources, bans, and advisories where they can be fetched
	@sh .ci/deny.sh $(TOOLS) $(ADVISORIES)

check: ## Check format and lints
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

check-features: ## Check lints without features, with all of them, and of the fuzz targets
	$(CARGO) clippy --all-targets --locked --no-default-features -- -D warnings
	$(CARGO) clippy --all-targets --locked --all-features -- -D warnings
	RUSTFLAGS="--cfg fuzzing" $(CARGO) clippy --manifest-path tests/fuzz/Cargo.toml --target-dir target/fuzz --locked -- -D warnings

fmt: ## Format
	$(CARGO) fmt

lint: ## Show lints
	$(CARGO) clippy --all-targets --locked

clean: ## Remove everything that was built or installed here; data and keys stay
	$(CARGO) clean
