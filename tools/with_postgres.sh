#!/usr/bin/env bash
# with_postgres.sh COMMAND...: runs the command with WATCHWORD_TEST_PG_URL naming a PostgreSQL server
# that exists only for it.
set -euo pipefail
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
dir=$(mktemp -d)
as_owner=()
if [ "$(id -u)" -eq 0 ]; then # PostgreSQL refuses to run as root
    as_owner=(runuser -u postgres --)
    chown postgres "$dir"
fi
stop() {
    "${as_owner[@]}" "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap stop EXIT
port=$(/usr/bin/python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])')
(
    cd /
    "${as_owner[@]}" "$bin/initdb" -D "$dir/data" -U watchword -A trust -E UTF8 --no-sync >/dev/null
    "${as_owner[@]}" "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir" start >/dev/null
)
WATCHWORD_TEST_PG_URL="postgresql://watchword@127.0.0.1:$port/postgres" "$@"
