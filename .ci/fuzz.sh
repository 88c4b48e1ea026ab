#!/bin/sh
# Fuzzes: `fuzz.sh SECONDS [TARGET...]`, every target where none is named. What it finds is in target/fuzz/artifacts.
# The first run builds everything once more, for some ten minutes. It needs nothing but the stable compiler.
set -eu
cd "$(dirname "$0")/.."

CARGO_FUZZ=0.13.2

seconds=$1
shift
targets=${*:-decode pipeline multipart claims paths addresses}

if ! target/tools/bin/cargo-fuzz --version 2>/dev/null | grep -q " $CARGO_FUZZ$"; then
    cargo install --locked "cargo-fuzz@$CARGO_FUZZ" --root target/tools
fi

sh tests/fuzz/seeds.sh target/fuzz/seeds

failed=""
for target in $targets; do
    echo "Fuzzing $target for $seconds s"
    mkdir -p "target/fuzz/corpus/$target" "target/fuzz/artifacts/$target"
    # No sanitizer: those need a nightly compiler, and the code in reach is safe Rust.
    target/tools/bin/cargo-fuzz run --fuzz-dir tests/fuzz --sanitizer none --target-dir target/fuzz "$target" \
        "target/fuzz/corpus/$target" "target/fuzz/seeds/$target" -- \
        "-max_total_time=$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        "-artifact_prefix=target/fuzz/artifacts/$target/" || failed="$failed $target"
done
if [ -n "$failed" ]; then
    echo "Something was found by:$failed" >&2
    exit 1
fi
