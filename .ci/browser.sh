#!/bin/sh
# Installs what tests of browsers need and is missing: `browser.sh DIRECTORY`. Chromium comes from Debian, what drives it
# goes into DIRECTORY/browser. Where either can't be had, it says so and succeeds: those tests are skipped then. With
# CI=true, where no test is skipped, it fails.
set -eu

PLAYWRIGHT_CORE=1.65.1
# What pages upload with.
UPPY=6.0.1
FILEPOND=4.32.12
DROPZONE=6.3.5
# What pages draw placeholders with.
THUMBHASH=0.1.1

directory=$1/browser
skip() {
    if [ "${CI:-}" = true ]; then
        echo "Browser tests can't run: $1" >&2
        exit 1
    fi
    echo "Browser tests will be skipped: $1"
    exit 0
}

if ! command -v chromium >/dev/null; then
    command -v apt-get >/dev/null || skip "there is no chromium, and no apt-get to install it with"
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || skip "there is no chromium, and no sudo to install it with"
        as_root=sudo
    fi
    echo "Installing chromium"
    $as_root apt-get update -qq || skip "Debian's packages can't be reached"
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium </dev/null ||
        skip "chromium can't be installed"
fi

node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
    skip "what drives the browser needs Node.js 20 or newer, as Debian 13 has it"

wanted="playwright-core@$PLAYWRIGHT_CORE uppy@$UPPY filepond@$FILEPOND dropzone@$DROPZONE thumbhash@$THUMBHASH"
if [ "$(cat "$directory/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into $directory: $wanted"
    mkdir -p "$directory"
    # shellcheck disable=SC2086 # one word a package
    npm install --prefix "$directory" --no-audit --no-fund --no-progress --loglevel=error $wanted </dev/null ||
        skip "npm can't install $wanted"
    # Last: a broken installation is done again.
    printf '%s\n' "$wanted" >"$directory/installed"
fi
