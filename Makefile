# The only entrance. `make help` lists the targets.

CARGO := cargo
CLUSTER := target/release/cluster
# The tests that need a cluster are not among the targets that cargo takes by itself.
ON_CLUSTER := --test e2e --test disruption --test rights
# What is needed without Kubernetes: much less to compile.
ON_A_HOST := --package capstan-sidecar --package capstan-peers --package capstan-bench
# What renders charts: Helm as it is on PATH, or our own build of it, which needs Go.
WITH_HELM := HELM=$${HELM:-$$(command -v helm || $(CLUSTER) build helm)}

.DEFAULT_GOAL := help
.PHONY: help setup build fmt lint test deny demo bench clean charts chart-test cluster-setup cluster-tool \
  cluster-up cluster-down cluster-status images test-images e2e bench-operator

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

setup: ## install what the tests and the demo need (rsyslog, gunicorn, openssl, gzip, promtool)
	@peers/install.sh

build: ## compile everything, optimised
	$(CARGO) build --release --workspace --all-targets $(ON_CLUSTER)

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## formatting, clippy and documentation, each without a warning
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets $(ON_CLUSTER) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps --document-private-items --quiet

charts: ## copy the definitions of the custom resources into their chart
	cp crds/*.yaml charts/capstan-crds/files/

chart-test: setup cluster-tool ## charts, examples, alerts and dashboard
	@$(WITH_HELM) $(CARGO) test --release --workspace --test chart

test: ## everything CI checks: setup, lint, build, all tests, those on a real Kubernetes too, deny
	@bench/check.sh

deny: ## licences, bans and sources of all dependencies; compiles cargo-deny at its first run
	@bench/deny.sh

demo: setup ## the main job on a real gunicorn and a TLS receiver, about a minute
	@$(CARGO) build --release $(ON_A_HOST) --bins --quiet
	@target/release/demo

bench: setup ## sidecar, bare loop and rsyslog side by side; ARGS="throughput --rounds 3" selects
	@$(CARGO) build --release $(ON_A_HOST) --bins --quiet
	@target/release/bench $(ARGS)

cluster-setup: ## install what the cluster needs (containerd, runc, CNI plugins, iptables, mmdebstrap); Go must be there
	@e2e/cluster/install.sh

# For the whole workspace, a test included: so its dependencies are compiled once, with the features that all need.
cluster-tool:
	@$(CARGO) build --release --workspace --bin cluster --test chart --quiet

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
	@$(CARGO) build --release --workspace --bin bench-operator --test chart --quiet
	@target/release/bench-operator $(ARGS)

clean: ## remove what was built and installed here
	rm -rf target .cache
