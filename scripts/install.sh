#!/usr/bin/env bash
# Makes the virtual environment and installs this project into it from a hash-pinned lock.
#   scripts/install.sh VENV requirements.lock
# Needs Python 3.11 or newer with its venv module; on Debian and Ubuntu, root installs the missing package.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1 lock=$2

find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "eventpipeline needs Python 3.11 or newer; name one with PYTHON=/path/to/python3" >&2
    return 1
}

python=$(find_python)
if [ ! -x "$venv/bin/python" ]; then
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "installing the venv module of $python"
            apt-get update -qq
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        else
            echo "$python has no venv module; install it (on Debian: apt install python3-venv) and try again" >&2
            exit 1
        fi
    fi
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
