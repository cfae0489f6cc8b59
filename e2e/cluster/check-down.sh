#!/usr/bin/env bash
# Brings a cluster down after one crash after another, and compares the machine with a picture from before. Needs no
# cluster, leaves none, takes about a minute: check-down.sh [FAULT…], a component that is killed, or the seconds after
# which `up` is.
set -euo pipefail
cd "$(dirname "$0")/../.."
cluster=target/release/cluster

# A cluster of its own, so that one that is in use stays.
export CAPSTAN_CLUSTER_DIR=$PWD/.cluster-check
scratch=$(mktemp -d)
trap '$cluster down >/dev/null 2>&1; rm -rf "$scratch"' EXIT

faults=("$@")
[ ${#faults[@]} -gt 0 ] || faults=(none init kubelet containerd etcd relay 0.2 0.6 1.5 3)

first_process() { $cluster status | sed -n 's/.*PID 1 is //p'; }

# The component's process, by its id outside of the node: one with that name below PID 1 of the node.
component() {
  local init pid
  init=$(first_process)
  for pid in $(cat "/proc/$init/task/$init/children"); do
    tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qx "$1" && echo "$pid" && return
  done
}

for fault in "${faults[@]}"; do
  $cluster picture "$scratch/before"
  case $fault in
    # In braces, or the shell itself says that it was killed.
    [0-9]*) { timeout --signal=KILL "$fault" $cluster up; } >/dev/null 2>&1 || true ;;
    *) $cluster up 2>/dev/null ;;
  esac
  case $fault in
    none | [0-9]*) ;;
    init) kill -9 "$(first_process)" ;;
    *) kill -9 "$(component "$fault")" ;;
  esac
  $cluster down 2>/dev/null
  echo "after $fault: $($cluster check-clean --since "$scratch/before")"
done
