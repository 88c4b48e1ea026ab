#!/bin/sh
# Installs into DIRECTORY what the benchmark holds Pixerve against: `bench.sh DIRECTORY`. Does nothing where it is there.
#   DIRECTORY/node/node_modules/sharp
set -eu

SHARP=0.35.5

directory=$1
wanted="sharp $SHARP"
stamp=$directory/installed
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

echo "Installing into $directory: $wanted"
rm -rf "$directory/node"
mkdir -p "$directory/node"
npm install --prefix "$directory/node" --no-audit --no-fund --no-progress --loglevel=error "sharp@$SHARP" </dev/null

# Last: a broken installation is done again.
printf '%s\n' "$wanted" >"$stamp"
