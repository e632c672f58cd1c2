#!/usr/bin/env bash
# Makes sure that there is a headless Chromium, which the tests of the live page drive.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium for the tests of the live page"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
    echo "the tests of the live page need Chromium; install it (on Debian: apt install chromium) and try again" >&2
    exit 1
fi
