#!/usr/bin/env bash
# Three machines of deploy/patroni as processes on this one, to try them out and for tests: three etcd, three
# PostgreSQL servers with Patroni, and HAProxy, on loopback addresses (NETWORK.1 to NETWORK.3 are the machines,
# NETWORK.10 is HAProxy) and with the ports of an installation.
#
#   deploy/patroni/try.sh run DIRECTORY [NETWORK]   start all; stop all at Ctrl-C or at the end of standard input
#   deploy/patroni/try.sh init DIRECTORY [NETWORK]  only write the files of the three machines
#   deploy/patroni/try.sh start DIRECTORY           start what is not running
#   deploy/patroni/try.sh stop DIRECTORY            stop all
#   deploy/patroni/try.sh ctl DIRECTORY COMMAND…    run patronictl, as in `ctl DIRECTORY list`
#
# DIRECTORY holds everything, and can be deleted when all is stopped. Its sluice.env has DATABASE_URL for Sluice.
# NETWORK is 127.77.0 by default. Needs Debian's packages patroni, etcd-server, etcd-client, haproxy and
# postgresql. As root, all processes run as user postgres.
set -euo pipefail
umask 077

PATH=$PATH:/usr/sbin
source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
machines=(1 2 3)

fail() {
  echo "error: $*" >&2
  exit 1
}

usage() {
  sed -n '6,10s/^# *//p' "$0" >&2
  exit 2
}

# PostgreSQL refuses to run as root.
unprivileged=()
[ "$(id -u)" -ne 0 ] || unprivileged=(setpriv --reuid=postgres --regid=postgres --clear-groups --)

require_programs() {
  local program missing=()
  for program in patroni patronictl etcd etcdctl haproxy psql setsid setpriv; do
    command -v $program >/dev/null || missing+=($program)
  done
  [ ${#missing[@]} -eq 0 ] || fail "missing programs: ${missing[*]}; they are in Debian's packages" \
    "patroni, etcd-server, etcd-client, haproxy, postgresql and util-linux"
}

# The folder of the programs of the newest PostgreSQL.
postgresql_programs() {
  local newest
  newest=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort --version-sort | tail -n 1) || true
  [ -n "$newest" ] || fail "no PostgreSQL in /usr/lib/postgresql: install Debian's package postgresql"
  dirname "$newest"
}

password() {
  od --address-radix=n --format=x1 --read-bytes=24 /dev/urandom | tr --delete ' \n'
}

# Writes the files of the three machines, unless they exist.
init() {
  local network=${1:-127.77.0} machine programs superuser replication rewind restapi sluice
  [ ! -e "$directory/sluice.env" ] || return 0
  programs=$(postgresql_programs)
  superuser=$(password) replication=$(password) rewind=$(password) restapi=$(password) sluice=$(password)
  cp "$source/haproxy.cfg" "$directory/"
  # Three servers with one port cannot share the folder of a socket.
  sed 's|\(unix_socket_directories:\).*|\1 ""|' "$source/patroni.yml" >"$directory/patroni.yml"
  for machine in "${machines[@]}"; do
    local own=$directory/pg$machine file
    mkdir -p "$own"
    for file in etcd.env patroni.env; do
      sed -e "s/@ADDRESS\([1-3]\)@/$network.\1/g" -e "s/@ADDRESS@/$network.$machine/g" -e "s/@NAME@/pg$machine/" \
        -e "s|=/var/lib/etcd/sluice$|=$own/etcd|" -e "s|=/var/lib/postgresql/sluice|=$own/data|" \
        -e "s|^\(PATRONI_POSTGRESQL_BIN_DIR\)=.*|\1=$programs|" \
        -e "s/^\(PATRONI_SUPERUSER_PASSWORD\)=/\1=$superuser/" \
        -e "s/^\(PATRONI_REPLICATION_PASSWORD\)=/\1=$replication/" \
        -e "s/^\(PATRONI_REWIND_PASSWORD\)=/\1=$rewind/" \
        -e "s/^\(PATRONI_RESTAPI_PASSWORD\)=/\1=$restapi/" "$source/$file" >"$own/$file"
    done
  done
  cat >"$directory/haproxy.env" <<END
BIND=$network.10
PG1=$network.1
PG2=$network.2
PG3=$network.3
END
  # Written last: its existence says that all files are complete.
  cat >"$directory/sluice.env" <<END
DATABASE_URL=postgres://sluice:$sluice@$network.10:5432/sluice?sslmode=disable
# Without HAProxy:
#DATABASE_URL=postgres://sluice:$sluice@$network.1:5432,$network.2:5432,$network.3:5432/sluice?sslmode=disable
END
  [ ${#unprivileged[@]} -eq 0 ] || chown -R postgres: "$directory"
}

require_init() {
  [ -e "$directory/sluice.env" ] || fail "$directory has no machines: \"$0 init $directory\" writes them"
}

# The value of a variable in a file.
value() {
  sed -n "s/^$2=//p" "$1"
}

# Prints the id of the process of a pid file, if it runs: it has the folder as its working directory.
running() {
  local file=$1 folder=$2 pid
  pid=$(head -n 1 "$file" 2>/dev/null) && [ -n "$pid" ] || return 1
  [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$folder" ] || return 1
  echo "$pid"
}

# Starts a program in the background: FOLDER NAME ENVIRONMENT PROGRAM ARGUMENTS…
spawn() {
  local folder=$1 name=$2 environment=$3
  shift 3
  if running "$folder/$name.pid" "$folder" >/dev/null; then return; fi
  # shellcheck disable=SC2016 # the inner shell expands these
  (
    cd "$folder"
    set -a
    # shellcheck source=/dev/null
    . "$environment"
    exec setsid "${unprivileged[@]}" sh -c 'echo $$ >"$0.pid"; exec "$@" >>"$0.log" 2>&1' "$name" "$@" </dev/null
  ) >/dev/null 2>&1 &
  # Its end is no news.
  disown
}

etcd_endpoints() {
  local machine endpoints=()
  for machine in "${machines[@]}"; do
    endpoints+=("$(value "$directory/pg$machine/etcd.env" ETCD_ADVERTISE_CLIENT_URLS)")
  done
  local IFS=,
  echo "${endpoints[*]}"
}

# Repeats a command for up to two minutes, until it succeeds.
until_success() {
  local what=$1 tries
  shift
  for ((tries = 0; tries < 600; tries++)); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.2
  done
  fail "$what: see the logs in $directory"
}

# Runs SQL as the superuser, on the primary. Without a standby, a commit would wait without end.
as_superuser() {
  PGPASSWORD=$(value "$directory/pg1/patroni.env" PATRONI_SUPERUSER_PASSWORD) PGCONNECT_TIMEOUT=5 timeout 10 \
    psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --username postgres \
    --host "$(value "$directory/haproxy.env" BIND)" --dbname postgres "$@"
}

create_database() {
  local url=
  url=$(value "$directory/sluice.env" DATABASE_URL)
  local secret=${url#*:*:}
  secret=${secret%%@*}
  if [ "$(as_superuser --command "select 1 from pg_roles where rolname = 'sluice'")" != 1 ]; then
    # On standard input, so that no process list shows the password.
    as_superuser <<<"create role sluice login password '$secret'"
  fi
  if [ "$(as_superuser --command "select 1 from pg_database where datname = 'sluice'")" != 1 ]; then
    as_superuser --command "create database sluice owner sluice"
  fi
}

start() {
  local machine
  require_init
  require_programs
  for machine in "${machines[@]}"; do
    spawn "$directory/pg$machine" etcd "$directory/pg$machine/etcd.env" etcd
  done
  until_success "etcd does not answer" etcdctl --endpoints "$(etcd_endpoints)" get health
  for machine in "${machines[@]}"; do
    spawn "$directory/pg$machine" patroni "$directory/pg$machine/patroni.env" patroni "$directory/patroni.yml"
  done
  spawn "$directory" haproxy "$directory/haproxy.env" haproxy -db -f "$directory/haproxy.cfg"
}

# Sends a signal to the processes of all pid files: SIGNAL, then pairs of a pid file and a folder.
signal() {
  local name=$1 pid
  shift
  while [ $# -gt 0 ]; do
    if pid=$(running "$1" "$2"); then kill -s "$name" "$pid" 2>/dev/null || true; fi
    shift 2
  done
}

# Whether one of the processes runs: pairs of a pid file and a folder.
any_running() {
  while [ $# -gt 0 ]; do
    ! running "$1" "$2" >/dev/null || return 0
    shift 2
  done
  return 1
}

stop() {
  local machine patronis=() servers=() others=("$directory/haproxy.pid" "$directory") tries
  require_init
  for machine in "${machines[@]}"; do
    local own=$directory/pg$machine
    patronis+=("$own/patroni.pid" "$own")
    servers+=("$own/data/postmaster.pid" "$own/data")
    others+=("$own/etcd.pid" "$own")
  done
  # Patroni stops its PostgreSQL.
  signal CONT "${patronis[@]}" "${servers[@]}" "${others[@]}"
  signal TERM "${patronis[@]}"
  for ((tries = 0; tries < 50; tries++)); do
    any_running "${patronis[@]}" "${servers[@]}" || break
    sleep 0.2
  done
  signal KILL "${patronis[@]}"
  signal QUIT "${servers[@]}"
  signal TERM "${others[@]}"
  for ((tries = 0; tries < 50; tries++)); do
    any_running "${servers[@]}" "${others[@]}" || return 0
    sleep 0.1
  done
  signal KILL "${servers[@]}" "${others[@]}"
}

ctl() {
  require_init
  (
    set -a
    # shellcheck source=/dev/null
    . "$directory/pg1/patroni.env"
    # It would wait for etcd without end.
    exec timeout 60 patronictl --config-file "$directory/patroni.yml" "$@"
  )
}

run() {
  trap stop EXIT
  trap 'exit 0' INT TERM HUP
  start
  until_success "no PostgreSQL is primary" as_superuser --command "select 1"
  until_success "the database cannot be created" create_database
  echo "PostgreSQL is ready: start Sluice with the settings in $directory/sluice.env"
  [ ! -t 0 ] || echo "Ctrl-C stops all processes."
  while read -r _; do :; done
}

[ $# -ge 2 ] || usage
command=$1
mkdir -p "$2"
directory=$(cd "$2" && pwd -P)
shift 2
case $command in
  init) require_programs && init "$@" ;;
  run) require_programs && init "$@" && run ;;
  start | stop) "$command" ;;
  ctl) ctl "$@" ;;
  *) usage ;;
esac
