#!/bin/sh
# What metrics cost a job, in instructions as callgrind counts them: `metrics-cost.sh PIXERVE [PICTURE]`, from the top
# directory. The same jobs, one after the other, are done without metrics, and with metrics.addr and as many scrapes as
# there are seconds in them where nothing is counted (valgrind is some fifty times slower), rounded up.
# All in one process: callgrind can't enter the sandbox. Starting children, which has no metrics, is so left out of the job.
# JOBS (4): how many jobs. WANTED (1): percent that metrics may cost.
set -eu

pixerve=$(realpath "$1")
jobs=${JOBS:-4}
wanted=${WANTED:-1}
command -v callgrind_control >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
work=$(mktemp -d)
server=""
finish() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -s "$work/server.log" ]; then
        echo "The server said:" >&2
        tail -n 20 "$work/server.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

if [ $# -ge 2 ]; then picture=$(realpath "$2"); else
    picture=$work/picture.png
    # 1600 x 1200 pixels, smooth with grain, as photos are.
    python3 - "$picture" <<'PYTHON'
import random, struct, sys, zlib

width, height, rows, grain = 1600, 1200, [], random.Random(1)
for y in range(height):
    noise = grain.randbytes(width)
    row = bytearray([0])
    for x in range(width):
        n = noise[x] % 12
        row += bytes(((x * 200 // width) + n, (y * 200 // height) + n, ((x * y) // 9000) % 200 + n))
    rows.append(bytes(row))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
with open(sys.argv[1], "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b""))
PYTHON
fi

cd "$work"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(port)
metrics=127.0.0.1:$(port)
printf '%s' '{"directHost":true,"formats":{"jpg":{"sizes":[[1200],[800],[400]]},"webp":{"sizes":[[1200],[800],[400]]}}}' >job.json
with_settings() {
    exec env -i PATH="$PATH" HOME="$work" TMPDIR="$work" PIXERVE_ADDR="127.0.0.1:$port" PIXERVE_DATA_DIR="$work/data" \
        PIXERVE_SERVE_DIR="$work/serve" PIXERVE_PRIVATE_DIR="$work/private" PIXERVE_JWT_FILE="$work/jwt.json" PIXERVE_LOG=warn PIXERVE_STORAGE_FREE_DISK_MIN=0 \
        PIXERVE_MAX_WORKERS=1 PIXERVE_WORKER_SANDBOX=off "$@"
}

# Two things of which valgrind takes something away that the server would use: the last real-time signal, so there is one
# less; and the vDSO, of which the server must not hear, so that call of the kernel fails, as it does before Linux 6.4.
cat >sigrtmax.c <<'C'
int __libc_current_sigrtmax(void) { return 63; }
C
cat >without-auxv.c <<'C'
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x41555856 /* PR_GET_AUXV */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
    execvp(argv[1], argv + 1);
    return 1;
}
C
cc -shared -fPIC -o sigrtmax.so sigrtmax.c
cc -o without-auxv without-auxv.c

# start ADDR PROGRAM...: a server whose metrics are told at ADDR, run by a program.
start() {
    addr=$1
    shift
    rm -rf data serve private
    with_settings PIXERVE_METRICS_ADDR="$addr" "$@" "$pixerve" serve >server.log 2>&1 &
    server=$!
    for _ in $(seq 600); do
        curl --silent --fail --output /dev/null "http://127.0.0.1:$port/health" && break
        kill -0 "$server" 2>/dev/null || { echo "The server did not come up" >&2; exit 1; }
        sleep 0.2
    done
    # The first job warms up.
    (with_settings "$pixerve" token --ttl 12h --job job.json) >token
    job
}

stop() {
    kill "$server"
    wait "$server" || true
    server=""
}

job() {
    status_url=$(curl --silent --fail -H "Authorization: Bearer $(cat token)" -F "file=@$picture" "http://127.0.0.1:$port/upload" \
        | python3 -c 'import json, sys; print(json.load(sys.stdin)["status_url"])')
    state=pending
    while [ "$state" != completed ]; do
        state=$(curl --silent --fail "http://127.0.0.1:$port$status_url&wait=30" \
            | python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])')
        [ "$state" != failed ] || { echo "A job failed" >&2; exit 1; }
    done
}

# work SCRAPES: the jobs, with so many scrapes among them.
work() {
    done_jobs=0 scraped=0
    while [ "$done_jobs" -lt "$jobs" ]; do
        job
        done_jobs=$((done_jobs + 1))
        while [ "$scraped" -lt $((($1 * done_jobs + jobs - 1) / jobs)) ]; do
            curl --silent --fail --output /dev/null "http://$metrics/metrics"
            scraped=$((scraped + 1))
        done
    done
}

# counted ADDR SCRAPES: the instructions of the jobs.
counted() {
    rm -f callgrind.out*
    start "$1" "$work/without-auxv" env LD_PRELOAD="$work/sigrtmax.so" \
        valgrind --tool=callgrind --quiet --callgrind-out-file=callgrind.out
    callgrind_control --zero "$server" >zeroed 2>&1 || { cat zeroed >&2; exit 1; }
    work "$2"
    stop
    awk '/^totals:/ { sum += $2 } END { print sum }' callgrind.out
}

start ""
began=$(date +%s%N)
work 0
took=$((($(date +%s%N) - began) / 1000000))
stop
scrapes=$(((took + 999) / 1000))
without=$(counted "" 0)
with=$(counted "$metrics" "$scrapes")
awk -v without="$without" -v with="$with" -v jobs="$jobs" -v scrapes="$scrapes" -v wanted="$wanted" 'BEGIN {
    more = (with / without - 1) * 100
    printf "%.1f million instructions a job; with metrics and %.2f scrapes a job %.1f million: %+.2f %%\n", \
        without / jobs / 1e6, scrapes / jobs, with / jobs / 1e6, more
    if (more > wanted) { printf "More than %s %%\n", wanted; exit 1 }
}'
