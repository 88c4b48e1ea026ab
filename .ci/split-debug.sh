#!/bin/sh
# Moves what panics need to name their lines out of a release build: `split-debug.sh BINARY` writes it to BINARY.debug, which
# the binary knows by name and finds where it lies in the same directory. cargo puts the whole binary back whenever it is
# asked to build, so this belongs behind every build.
set -eu

# What a user downloads: a limit, so that nothing gets in unseen.
BYTES_MAX=50000000

binary=$1
if ! readelf -SW "$binary" 2>/dev/null | grep -q ' \.debug_line '; then
    # Another system's, or split already.
    exit 0
fi
objcopy --only-keep-debug --compress-debug-sections=zlib "$binary" "$binary.debug"
objcopy --strip-all --add-gnu-debuglink="$binary.debug" "$binary" "$binary.split"
mv "$binary.split" "$binary"

bytes=$(wc -c <"$binary")
echo "$binary: $((bytes / 1000000)) MB; $binary.debug: $(($(wc -c <"$binary.debug") / 1000000)) MB"
if [ "$bytes" -gt "$BYTES_MAX" ]; then
    echo "$binary has $bytes bytes, more than the $BYTES_MAX that a release may have" >&2
    # A user's build on another system is none the worse for it.
    [ "${CI:-}" != true ] || exit 1
fi
