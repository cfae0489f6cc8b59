#!/usr/bin/env bash
# Unpacks Debian packages, and what they depend on, into a directory: root-of-packages.sh DIRECTORY PACKAGE…
# No maintainer script is run, which is quick and needs no chroot; the few things they would have done are done here.
set -euo pipefail

root=$1
shift
packages=$(IFS=,; echo "$*")
unwanted=()
for what in man doc locale info lintian bug; do
  unwanted+=(--dpkgopt="path-exclude=/usr/share/$what/*")
done

SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --variant=extract --include="base-passwd,busybox-static,$packages" \
  --aptopt='Apt::Install-Recommends "false"' "${unwanted[@]}" bookworm "$root"

for list in passwd group; do
  [ -e "$root/etc/$list" ] || cp "$root/usr/share/base-passwd/$list.master" "$root/etc/$list"
done
# Pods say by number whom they run as; a name is a courtesy to programs that ask for one.
echo 'app:x:1000:1000::/tmp:/bin/sh' >>"$root/etc/passwd"
echo 'app:x:1000:' >>"$root/etc/group"
# One shell with its tools, for looking around.
for tool in $("$root/bin/busybox" --list); do
  [ -e "$root/bin/$tool" ] || [ -e "$root/usr/bin/$tool" ] || ln -s busybox "$root/bin/$tool"
done
mkdir -p "$root/tmp" "$root/run" "$root/proc" "$root/sys" "$root/dev"
chmod 1777 "$root/tmp"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/dev/* "$root"/var/log/*
