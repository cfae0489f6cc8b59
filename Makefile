# The only entrance. `make help` lists the targets.

CARGO := cargo
STAGE := bench/stage.sh

.DEFAULT_GOAL := help
.PHONY: help setup build fmt lint test deny demo bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

setup: ## install what the tests and the demo need (rsyslog, gunicorn, openssl, gzip)
	@peers/install.sh

build: ## compile everything, optimised
	$(CARGO) build --release --workspace --all-targets

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## formatting, clippy and documentation, each without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items --quiet

test: ## everything CI checks: setup, lint, build, all tests, deny
	@$(STAGE) setup peers/install.sh
	@$(STAGE) lint $(MAKE) --no-print-directory lint
	@$(STAGE) build $(MAKE) --no-print-directory build
	@$(STAGE) test $(CARGO) test --release --workspace
	@$(STAGE) deny bench/deny.sh

deny: ## licences, bans and sources of all dependencies; compiles cargo-deny at its first run
	@bench/deny.sh

demo: setup ## the main job on a real gunicorn and a TLS receiver, about a minute
	@$(CARGO) build --release --workspace --bins --quiet
	@target/release/demo

bench: setup ## sidecar, bare loop and rsyslog side by side; ARGS="throughput --rounds 3" selects
	@$(CARGO) build --release --workspace --bins --quiet
	@target/release/bench $(ARGS)

clean: ## remove what was built and installed here
	rm -rf target .cache
