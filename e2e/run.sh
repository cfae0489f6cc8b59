#!/usr/bin/env bash
# Runs the cluster tests: on the cluster that KUBECONFIG names, or else on one that is brought up here and taken down
# again, whatever happens. Arguments go to the test programs: a part of a name selects tests.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
cluster=target/release/cluster

if [ -z "${KUBECONFIG:-}" ]; then
  "${MAKE:-make}" --no-print-directory test-images
  trap '$cluster down' EXIT
  $cluster up
  eval "$($cluster env)"
  HELM=${HELM:-$($cluster build helm)}
  export HELM
fi

# Those that share an installation, those that break it, and then what the API server says about both. Most of a test is
# waiting, so more of them run at once than there are cores. A program that fails does not keep the next from running.
failed=0
for program in e2e disruption rights; do
  "$cargo" test --release --workspace --test "$program" -- --test-threads=4 "$@" || failed=1
done
if [ -z "${CAPSTAN_E2E_AUDIT_LOG:-}" ]; then
  echo "not looked at: who wrote when, and which rights were used; CAPSTAN_E2E_AUDIT_LOG names no audit log" >&2
fi
exit $failed
