#!/usr/bin/env bash
# Makes sure that there are prometheus and promtool, which the tests of dashboards and alerts run.
# Debian's package is only unpacked, into the cache of this project: installing it would make a service and start it.
set -euo pipefail
command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
folder=${XDG_CACHE_HOME:-$HOME/.cache}/eventpipeline/prometheus
[ -x "$folder/usr/bin/prometheus" ] && [ -x "$folder/usr/bin/promtool" ] && exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "the tests of dashboards and alerts need prometheus and promtool; put them on the PATH and try again" >&2
    exit 1
fi
echo "unpacking prometheus for the tests of dashboards and alerts"
[ "$(id -u)" != 0 ] || apt-get update -qq
mkdir -p "$folder"
work=$(mktemp -d "$folder/unpacking.XXXXXX")
trap 'rm -rf "$work"' EXIT
# As root, apt fetches as a user of its own, who may not write here; it says so and goes on by itself.
(cd "$work" && apt-get download -qq prometheus 2>/dev/null)
dpkg-deb -x "$work"/prometheus_*.deb "$work/package"
# A rename is the last step, so that what is there is whole.
rm -rf "$folder/usr"
mv "$work/package/usr" "$folder/usr"
