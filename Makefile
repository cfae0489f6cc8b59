# The only entrance. `make help` lists the targets.

CARGO := cargo
STAGE := bench/stage.sh
CLUSTER := target/release/cluster
# What renders charts: Helm as it is on PATH, or our own build of it, which needs Go.
WITH_HELM := HELM=$${HELM:-$$(command -v helm || $(CLUSTER) build helm)}

.DEFAULT_GOAL := help
.PHONY: help setup build fmt lint test deny demo bench clean charts chart-test cluster-setup cluster-tool \
  cluster-up cluster-down cluster-status images test-images e2e bench-operator

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## install what the tests and the demo need (rsyslog, gunicorn, openssl, gzip, promtool)
	@peers/install.sh

build: ## compile everything, optimised
	$(CARGO) build --release --workspace --all-targets

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## formatting, clippy and documentation, each without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets --features capstan-e2e/cluster -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items --quiet

charts: ## copy the definitions of the custom resources into their chart
	cp crds/*.yaml charts/capstan-crds/files/

chart-test: setup cluster-tool ## charts, examples, alerts and dashboard
	@$(WITH_HELM) $(CARGO) test --release -p capstan-e2e --test chart

test: ## everything CI checks: setup, lint, build, all tests, deny
	@$(STAGE) setup peers/install.sh
	@$(STAGE) lint $(MAKE) --no-print-directory lint
	@$(STAGE) build $(MAKE) --no-print-directory build
	@$(WITH_HELM) $(STAGE) test $(CARGO) test --release --workspace
	@$(STAGE) deny bench/deny.sh

deny: ## licences, bans and sources of all dependencies; compiles cargo-deny at its first run
	@bench/deny.sh

demo: setup ## the main job on a real gunicorn and a TLS receiver, about a minute
	@$(CARGO) build --release --workspace --bins --quiet
	@target/release/demo

bench: setup ## sidecar, bare loop and rsyslog side by side; ARGS="throughput --rounds 3" selects
	@$(CARGO) build --release --workspace --bins --quiet
	@target/release/bench $(ARGS)

cluster-setup: ## install what the cluster needs (containerd, runc, CNI plugins, iptables, mmdebstrap); Go must be there
	@e2e/cluster/install.sh

cluster-tool:
	@$(CARGO) build --release --package capstan-e2e --bin cluster --quiet

cluster-up: cluster-setup cluster-tool ## a real Kubernetes on this machine, as root; KUBERNETES=1.34.10 for that version
	@$(CLUSTER) up

cluster-down: cluster-tool ## take that Kubernetes down and remove all of it
	@$(CLUSTER) down

cluster-status: cluster-tool ## what of it is up
	@$(CLUSTER) status

images: cluster-tool ## the published images: static programs on an empty base, in target/images; takes minutes
	@$(CLUSTER) project-images

test-images: cluster-setup cluster-tool ## the same quickly, without the last optimisation, and the apps that tests run
	@$(CLUSTER) project-images --profile release capstan-sidecar capstan-operator capstan-peers
	@$(CLUSTER) images

e2e: ## tests on a real cluster: the one of KUBECONFIG, or one brought up for it; ARGS="name" selects
	@e2e/run.sh $(ARGS)

bench-operator: cluster-tool ## what the operator costs, on the cluster of KUBECONFIG; ARGS="--pods 1000" with kwok
	@$(CARGO) build --release --package capstan-e2e --bin bench-operator --quiet
	@target/release/bench-operator $(ARGS)

clean: ## remove what was built and installed here
	rm -rf target .cache
