#!/bin/sh
# Installs the system's packages that are missing, and only those: `setup.sh PURPOSE...`, where that is build, test or serving.
set -eu

missing=""

# need PACKAGE COMMAND...: PACKAGE is missing unless COMMAND succeeds.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

for purpose in "$@"; do
    case $purpose in
    build)
        need build-essential command -v cc
        need nasm command -v nasm
        # libaom is built by cmake, which runs perl to make its tables of functions.
        need cmake command -v cmake
        need perl command -v perl
        need curl command -v curl
        need ca-certificates test -d /etc/ssl/certs
        ;;
    test)
        # A virtual environment needs ensurepip, which Debian packs apart.
        need python3-venv python3 -c 'import ensurepip, venv'
        need nodejs command -v node
        need npm command -v npm
        # A form without JavaScript is an app in PHP.
        need php-cli command -v php
        # For tests that kill a server at its n-th system call, cut its power, fill its disk and set its clock. Where these
        # are missing, such tests are skipped, or fail where CI=true.
        need strace command -v strace
        need libjpeg-turbo-progs sh -c 'command -v cjpeg && command -v jpegtran'
        # Not in the PATH of everybody who may become root.
        need e2fsprogs test -x /sbin/mkfs.ext4
        need mount command -v mount
        # Not in everybody's PATH either.
        need nginx-light test -x /usr/sbin/nginx
        # Verifies units.
        need systemd command -v systemd-analyze
        # A server that scrapes, and judges by the alerts in deploy/prometheus.
        need prometheus sh -c 'command -v prometheus && command -v promtool'
        # Tests start their own on other ports; the service that comes with it is not asked.
        need redis-server command -v redis-server
        # A network of a test's own, whose links it cuts; in the PATH of root alone.
        need iproute2 test -x /usr/sbin/ip
        need libfaketime sh -c 'ls /usr/lib/*/faketime/libfaketimeMT.so.1'
        ;;
    serving)
        # What files are served beside, and what asks for them.
        need nginx-light test -x /usr/sbin/nginx
        need wrk command -v wrk
        need python3 command -v python3
        need procps command -v ps
        ;;
    *)
        echo "setup: unknown purpose $purpose" >&2
        exit 2
        ;;
    esac
done

if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "Please install what these Debian packages hold, then try again:$missing" >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "Please install as root, then try again:$missing" >&2; exit 1; }
        as_root=sudo
    fi
    echo "Installing$missing"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 # one word a package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "Please install Rust from https://rustup.rs, then try again." >&2
    exit 1
fi
