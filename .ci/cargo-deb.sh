#!/bin/sh
# Installs cargo-deb below TOOLS, unless there is one: `cargo-deb.sh TOOLS`. `make deb` and the test of the package use it.
set -eu

CARGO_DEB=3.8.0

tools=$1
PATH="$(pwd)/$tools/bin:$PATH"
command -v cargo-deb >/dev/null || cargo install --locked cargo-deb --version "$CARGO_DEB" --root "$tools"
