#!/bin/sh
# Installs what tests of the image, of the Debian package and of the manifests need and is missing: `packaging.sh DIRECTORY TOOLS`.
#   DIRECTORY/podman        images that are podman's only with `--root DIRECTORY/podman`: the one that deploy/Dockerfile begins from
#   DIRECTORY/kubernetes    Python with kubernetes-validate, which carries the schemas
#   TOOLS/bin/cargo-deb
# Where one can't be had, it says so and succeeds: its tests are skipped then. With CI=true, where no test is skipped, it fails.
set -eu

KUBERNETES_VALIDATE=1.37.0

directory=$1
tools=$2
skip() {
    if [ "${CI:-}" = true ]; then
        echo "Tests of packaging can't run: $1" >&2
        exit 1
    fi
    echo "Some tests of packaging will be skipped: $1"
}

install_podman() {
    missing=""
    for package in podman runc debootstrap; do
        [ -n "$(PATH="$PATH:/usr/sbin" command -v $package)" ] || missing="$missing $package"
    done
    [ -z "$missing" ] || {
        command -v apt-get >/dev/null || return
        echo "Installing$missing"
        apt-get update -qq
        # shellcheck disable=SC2086 # one word a package
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null
    }
}

# The image is pulled; where no registry is reached, it is made of Debian's packages, under the same name, which is no other
# podman's but ours.
debian() {
    image=$(sed -n 's/^ARG DEBIAN=//p' deploy/Dockerfile)
    ours() { podman --root "$directory/podman" --runroot /run/pixerve-podman --runtime runc "$@"; }
    ours image exists "$image" && return
    if ! ours pull --quiet "$image" >/dev/null 2>&1; then
        suite=$(echo "$image" | sed 's/.*:\([a-z]*\).*/\1/')
        echo "Making $image of Debian's packages"
        root=$directory/debian-$suite
        rm -rf "$root"
        PATH="$PATH:/usr/sbin" debootstrap --variant=minbase "$suite" "$root" http://deb.debian.org/debian >/dev/null || return
        # What an image leaves out too.
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
        tar -C "$root" -c . | ours import - "$image" >/dev/null 2>&1 || return
        rm -rf "$root"
    fi
    # A machine may let nobody start containers.
    limits="--ulimit nofile=$(ulimit -Hn):$(ulimit -Hn) --ulimit nproc=1000:1000"
    # shellcheck disable=SC2086 # several words
    ours run --rm --network host $limits "$image" true
}

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
if [ "$(id -u)" -ne 0 ]; then
    skip "podman is run as root"
elif ! { install_podman && debian; }; then
    rm -rf "$directory/podman"
    skip "podman can't be had, or can't start a container"
fi

sh "$(dirname "$0")/cargo-deb.sh" "$tools" || skip "cargo-deb can't be installed"

stamp=$directory/kubernetes/installed
if [ "$(cat "$stamp" 2>/dev/null)" != "$KUBERNETES_VALIDATE" ]; then
    echo "Installing into $directory/kubernetes: kubernetes-validate $KUBERNETES_VALIDATE"
    rm -rf "$directory/kubernetes"
    python3 -m venv "$directory/kubernetes"
    if "$directory/kubernetes/bin/pip" install --quiet --disable-pip-version-check \
        "kubernetes-validate==$KUBERNETES_VALIDATE"; then
        printf '%s\n' "$KUBERNETES_VALIDATE" >"$stamp"
    else
        skip "kubernetes-validate can't be fetched"
    fi
fi
