#!/bin/sh
# Runs the battery, the long tests too, a group at a time, and shows each group's figures: `battery.sh [GROUP...]`.
set -eu

cargo test --locked --test it --no-run
if [ $# -eq 0 ]; then
    # Every group there is, but the soak and the nodes, which `make soak` and `make battery-nodes` run.
    groups=$(cargo test --locked --test it -- battery:: --include-ignored --list 2>/dev/null \
        | sed -n 's/^battery::\([a-z_]*\)::.*: test$/\1/p' | grep -v -e '^soak$' -e '^nodes$' | sort -u)
    # shellcheck disable=SC2086
    set -- $groups
fi
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
