#!/bin/sh
# The system tools of the suite: as root apt installs what is missing; otherwise what
# PATH has is used, and pytest lists what was skipped.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
command -v amtool >/dev/null 2>&1 || missing="$missing prometheus-alertmanager"
# checkov has over a hundred dependencies, so it lives alone, and only where all is
# required. By uv in 5 s, beside apt; by pip in 27.
install_checkov() {
    at=.venv/checkov
    if [ -x .venv/bin/uv ]; then
        .venv/bin/uv venv -q --clear -p .venv/bin/python "$at" &&
            .venv/bin/uv pip install -q --system-certs --python "$at/bin/python" "$1" &&
            return
    fi
    python3 -m venv "$at" && "$at/bin/pip" install -q --disable-pip-version-check "$1"
}
if [ "${REQUIRE_ALL:-}" = 1 ] && [ ! -x .venv/checkov/bin/checkov ]; then
    { install_checkov checkov==3.3.30 || echo "not installed: checkov"; } &
fi
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
if [ -z "$missing" ]; then
    :
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || true
    # No service is to be started by an installation.
    # shellcheck disable=SC2086
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        echo "not installed:$missing"
else
    echo "not installed (needs root):$missing"
fi
wait
