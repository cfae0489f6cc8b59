#!/usr/bin/env bash
# Installs what the cluster needs beside Go: containerd, runc, the CNI plugins, iptables and ip for the node, and
# mmdebstrap and busybox for the images of test apps. As root on Debian from its packages. Does nothing, and asks
# nobody, when all is there.
set -euo pipefail
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin

packages=()
need() { packages+=("$1"); }
find_missing() {
  packages=()
  command -v containerd >/dev/null && command -v ctr >/dev/null || need containerd
  command -v runc >/dev/null || need runc
  [ -x /usr/lib/cni/bridge ] || need containernetworking-plugins
  command -v iptables >/dev/null || need iptables
  command -v conntrack >/dev/null || need conntrack
  command -v ip >/dev/null || need iproute2
  command -v nsenter >/dev/null || need util-linux
  command -v mmdebstrap >/dev/null || need mmdebstrap
  [ -e /usr/share/doc/ca-certificates ] || need ca-certificates
}

find_missing
if [ ${#packages[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || echo "the package lists could not be renewed; trying with those there are" >&2
  # The cluster starts its own containerd; a service of the machine's is not wanted. What could not be installed
  # is named below.
  RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || true
fi

find_missing
if [ ${#packages[@]} -gt 0 ]; then
  echo "missing, and not to be had by itself here: ${packages[*]}" >&2
  echo "install these Debian packages (or what your system calls them), as root:" >&2
  echo "  apt-get install ${packages[*]}" >&2
  exit 1
fi
