#!/bin/sh
# Installs into DIRECTORY what tests talk to: `test-servers.sh DIRECTORY`. Does nothing where it is there already.
#   DIRECTORY/venv/bin/gcp-storage-emulator
#   DIRECTORY/node/node_modules/.bin/newman
#   and the libraries that apps sign tokens, upload and verify signatures of callbacks with, in both
set -eu

GCP_STORAGE_EMULATOR=2026.7.19
NEWMAN=6.2.2
STANDARDWEBHOOKS_PYPI=1.1.0
STANDARDWEBHOOKS_NPM=1.1.1
JOSE=6.2.18
PYJWT=2.15.1
REQUESTS=2.34.2

directory=$1
wanted="gcp-storage-emulator $GCP_STORAGE_EMULATOR, newman $NEWMAN, standardwebhooks $STANDARDWEBHOOKS_PYPI $STANDARDWEBHOOKS_NPM, \
jose $JOSE, pyjwt $PYJWT, requests $REQUESTS"
stamp=$directory/installed
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "Installing into $directory: $wanted"
rm -rf "$directory"
mkdir -p "$directory/node"

python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet --disable-pip-version-check \
    "gcp-storage-emulator==$GCP_STORAGE_EMULATOR" "standardwebhooks==$STANDARDWEBHOOKS_PYPI" \
    "PyJWT==$PYJWT" "requests==$REQUESTS"

npm install --prefix "$directory/node" --no-audit --no-fund --no-progress --loglevel=error \
    "newman@$NEWMAN" "standardwebhooks@$STANDARDWEBHOOKS_NPM" "jose@$JOSE" </dev/null

# Last: a broken installation is done again.
printf '%s\n' "$wanted" >"$stamp"
