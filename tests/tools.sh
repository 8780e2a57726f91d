#!/bin/sh
# The system tools of the suite: as root apt installs what is missing; otherwise what
# PATH has is used, and pytest lists what was skipped.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v amtool >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
# checkov has over a hundred dependencies, so it lives alone, and only where all is
# required: 27 s to install.
if [ "${REQUIRE_ALL:-}" = 1 ] && [ ! -x .venv/checkov/bin/checkov ]; then
    python3 -m venv .venv/checkov &&
        .venv/checkov/bin/pip install -q --disable-pip-version-check checkov==3.3.30 ||
        echo "not installed: checkov"
fi
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    # No service is to be started by an installation.
    # shellcheck disable=SC2086
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        echo "not installed:$missing"
else
    echo "not installed (needs root):$missing"
fi
