#!/bin/sh
# Holds every dependency to deny.toml: `deny.sh TOOLS [ADVISORIES]`. cargo-deny is installed below TOOLS where there is
# none. With ADVISORIES=no what is published about dependencies is left out.
set -eu
tools=$1
advisories=${2:-yes}

PATH="$(pwd)/$tools/bin:$PATH"
if ! command -v cargo-deny >/dev/null; then
    cargo install --locked cargo-deny --version 0.20.2 --root "$tools"
fi
cargo deny --all-features check licenses bans sources
[ "$advisories" != no ] || exit 0

# The database of advisories is a repository of its own, which not every machine reaches: that it can't be had must not
# look like a finding, nor pass for none.
if cargo deny --all-features fetch db >/dev/null 2>&1; then
    cargo deny --all-features --offline check advisories
else
    echo "The advisory database can't be reached: advisories were NOT checked."
fi
