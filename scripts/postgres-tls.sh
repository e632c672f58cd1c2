#!/usr/bin/env bash
# Makes sure that there is a Postgres with TLS, which that of the wheel lacks: the tests of external servers run it.
set -euo pipefail
[ -n "${EVENTPIPELINE_TLS_POSTGRES:-}" ] && exit 0
for initdb in /usr/lib/postgresql/*/bin/initdb; do
    [ -e "$initdb" ] && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's postgresql for the tests of TLS"
    # Only the programs: no server of the machine's own is made and started.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
else
    echo "the tests of TLS need a Postgres with TLS; install it (on Debian: apt install postgresql) and try again" >&2
    exit 1
fi
