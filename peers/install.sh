#!/usr/bin/env bash
# Installs the real programs that tests and demo run against: rsyslog with both TLS drivers, gunicorn, nginx,
# openssl, gzip, promtool, and a C compiler, which the ring crate needs. As root on Debian from its packages; gunicorn
# otherwise into a virtual environment in .cache. Does nothing, and asks nobody, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin

has_driver() { compgen -G "/usr/lib/*/rsyslog/lmnsd_$1.so" >/dev/null || compgen -G "/usr/lib*/rsyslog/lmnsd_$1.so" >/dev/null; }
has_gunicorn() { command -v gunicorn >/dev/null || [ -x .cache/venv/bin/gunicorn ]; }
has_promtool() { command -v promtool >/dev/null || [ -x .cache/prometheus/usr/bin/promtool ]; }

packages=()
need() { packages+=("$@"); }
find_missing() {
  packages=()
  command -v rsyslogd >/dev/null || need rsyslog
  has_driver ossl || need rsyslog-openssl
  has_driver gtls || need rsyslog-gnutls
  command -v openssl >/dev/null || need openssl
  command -v gzip >/dev/null || need gzip
  command -v cc >/dev/null || need gcc libc6-dev
  has_gunicorn || need gunicorn
  command -v nginx >/dev/null || need nginx-light
}

install_from_debian() {
  echo "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || echo "the package lists could not be renewed; trying with those there are" >&2
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# Installed as a package, Prometheus would be started as a service.
unpack_promtool_beside_us() {
  echo "unpacking prometheus into .cache/prometheus"
  mkdir -p .cache/prometheus
  (cd .cache/prometheus && rm -f ./*.deb && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } 2>/dev/null && dpkg -x ./*.deb . && rm -f ./*.deb)
}

install_gunicorn_beside_us() {
  echo "installing gunicorn into .cache/venv"
  python3 -m venv .cache/venv && .cache/venv/bin/pip install --quiet gunicorn
}

find_missing
if [ ${#packages[@]} -eq 0 ] && has_promtool; then
  exit 0
fi
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  # What could not be installed is named below.
  install_from_debian || true
fi
has_gunicorn || install_gunicorn_beside_us || true
has_promtool || unpack_promtool_beside_us || true

find_missing
if [ ${#packages[@]} -gt 0 ]; then
  echo "missing, and not to be had by itself here: ${packages[*]}" >&2
  echo "install these Debian packages (or what your system calls them), as root:" >&2
  echo "  apt-get install ${packages[*]}" >&2
  exit 1
fi
if ! has_promtool; then
  echo "missing: promtool, for the tests of alerts; it comes with Prometheus (Debian: package prometheus)" >&2
  exit 1
fi
