#!/usr/bin/env bash
# Everything that CI checks, stage by stage, each with its time: what `make test` runs.
#
# Without a KUBECONFIG the tests on Kubernetes bring a cluster up. Compiling that takes minutes the first time, so it
# goes on behind the stages that need the compiler for Rust, and is waited for where it is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
make=${MAKE:-make}
cluster=target/release/cluster
behind=

told() {
  if [ "$2" -eq 0 ]; then echo "== $1 done in $3 s"; else echo "== $1 FAILED after $3 s"; fi
}

stage() {
  local name=$1 start=$SECONDS status=0
  shift
  echo "== $name"
  "$@" || status=$?
  told "$name" "$status" $((SECONDS - start))
  return "$status"
}

# A process group of its own, so that a failure in front ends all of it.
begin_behind() {
  echo "== programs and images for the cluster, behind what follows"
  mkdir -p target
  setsid bash -c "$cluster build && $cluster images && bench/deny.sh --install" >target/behind.log 2>&1 </dev/null &
  behind=$!
  trap 'kill -- -$behind 2>/dev/null || true' EXIT
}

wait_for_behind() {
  local status=0
  wait "$behind" || status=$?
  trap - EXIT
  cat target/behind.log
  return "$status"
}

start=$SECONDS
stage setup peers/install.sh
if [ -z "${KUBECONFIG:-}" ]; then
  stage "setup for the cluster" e2e/cluster/install.sh
  stage "the program that makes clusters" "$make" --no-print-directory cluster-tool
  begin_behind
fi
stage lint "$make" --no-print-directory lint
stage build "$make" --no-print-directory build
if [ -n "$behind" ]; then
  stage "programs and images for the cluster" wait_for_behind
fi
HELM=${HELM:-$(command -v helm || $cluster build helm)}
export HELM
stage test cargo test --release --workspace
stage e2e e2e/run.sh
stage deny bench/deny.sh
echo "== all done in $((SECONDS - start)) s"
