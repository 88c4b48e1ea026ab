#!/bin/sh
# Runs the battery, the long tests too, a group at a time, and shows each group's figures: `battery.sh [GROUP...]`.
set -eu
[ $# -gt 0 ] || set -- auth bad_input browser crash dependencies exhaustion integrity load poison real_stores ssrf traversal

cargo test --locked --test it --no-run
failed=""
mkdir -p target/battery
for group in "$@"; do
    log=target/battery/$group.log
    # Two at a time: figures of answers under load mean something only where little else runs.
    if RUST_BACKTRACE=0 cargo test --locked --test it -- "battery::$group" --include-ignored --nocapture --test-threads 2 >"$log" 2>&1
    then held=held; else held=FAILED; failed="$failed $group"; fi
    echo "== $group: $held; $(grep -E '^test result' "$log" || echo 'no result') ($log)"
    grep -oE 'battery \| .*' "$log" || true
done
[ -z "$failed" ] || { echo "Failed:$failed" >&2; exit 1; }
