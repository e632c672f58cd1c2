#!/usr/bin/env bash
# Makes sure that there is libfaketime, with which the fault tests set the clock of a service. Without it they do not.
set -euo pipefail
[ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing libfaketime for the fault tests"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libfaketime >/dev/null && exit 0
fi
echo "without libfaketime no clock jumps in the fault tests (on Debian: apt install libfaketime)" >&2
