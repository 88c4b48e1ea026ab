#!/bin/sh
# Builds the image from this tree by docker, or else by podman: `image.sh NAME`. FEATURES are cargo's, besides the default ones.
set -eu

name=$1
if docker version >/dev/null 2>&1; then
    engine=docker
    export DOCKER_BUILDKIT=1
elif command -v podman >/dev/null; then
    engine="podman"
else
    echo "Please install docker or podman, and start it, then try again." >&2
    exit 1
fi
# Of podman's formats only docker's has health checks.
format=""
[ "$engine" != podman ] || format="--format=docker"
commit=$(git rev-parse HEAD 2>/dev/null || true)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
# shellcheck disable=SC2086 # no word where there is none
$engine build $format --file deploy/Dockerfile --build-arg "FEATURES=${FEATURES:-}" --build-arg "GIT_COMMIT=$commit" \
    --tag "$name:$version" --tag "$name:latest" .
$engine image inspect --format '{{.Size}} bytes' "$name:$version"
