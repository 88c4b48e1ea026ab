#!/bin/sh
# A Redis that is started, killed and paused as often as told: `redis.sh DIRECTORY SERVER ARGUMENT...`. Each line of the
# standard input is one command, answered by a line once it has happened. Server and directory end with the input.
dir=$1
shift
pid=
while read -r line; do
    case $line in
    start)
        "$@" >>"$dir/log" 2>&1 &
        pid=$!
        ;;
    kill)
        kill -9 $pid
        wait $pid 2>/dev/null
        pid=
        ;;
    pause)
        kill -STOP $pid
        # A signal is only on its way when kill returns.
        until grep -q '^State:.T' /proc/$pid/status; do :; done
        ;;
    resume)
        kill -CONT $pid
        ;;
    esac
    echo "$line"
done
if [ -n "$pid" ]; then
    # With its machine, it may have ended already.
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
fi
rm -rf "$dir"
