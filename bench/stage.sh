#!/usr/bin/env bash
# Runs a command as a named stage and says how long it took: stage.sh NAME COMMAND…
set -euo pipefail

name=$1
shift
echo "== $name"
start=$SECONDS
status=0
"$@" || status=$?
if [ "$status" -eq 0 ]; then word="done in"; else word="FAILED after"; fi
echo "== $name $word $((SECONDS - start)) s"
exit "$status"
