#!/usr/bin/env bash
# Checks licences, bans and sources of all dependencies with cargo-deny, without the network. Compiles
# cargo-deny if it is not installed: two to three minutes, once per user, so it is kept outside the clone.
# Advisories need a database from the network: not checked here. With --install, compiles it and checks nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools=${XDG_CACHE_HOME:-$HOME/.cache}/capstan/cargo-deny-$version
PATH=$PATH:$tools/bin
if ! command -v cargo-deny >/dev/null; then
  echo "compiling cargo-deny $version into $tools, once; this takes two to three minutes"
  cargo install --quiet --locked --root "$tools" --version "$version" cargo-deny
fi
[ "${1:-}" != --install ] || exit 0
cargo fetch --locked --quiet
cargo deny --offline check licenses bans sources
