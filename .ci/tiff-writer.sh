#!/bin/sh
# Installs what writes TIFFs at random for the long battery, and the libtiff that judges them: `tiff-writer.sh DIRECTORY`.
#   DIRECTORY/tiff/bin/python   Python with tifffile, and imagecodecs, which brings libtiff
# Where it can't be had, it says so and succeeds: its test is skipped then. With CI=true, where no test is skipped, it fails.
set -eu

IMAGECODECS=2026.3.6
PILLOW=13.0.0
TIFFFILE=2026.3.3

directory=$1/tiff
wanted="tifffile $TIFFFILE, imagecodecs $IMAGECODECS, Pillow $PILLOW"
[ "$(cat "$directory/installed" 2>/dev/null)" = "$wanted" ] && exit 0
echo "Installing into $directory: $wanted"
rm -rf "$directory"
mkdir -p "$1"
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check \
    "tifffile==$TIFFFILE" "imagecodecs==$IMAGECODECS" "Pillow==$PILLOW" || {
    if [ "${CI:-}" = true ]; then
        echo "The test of TIFFs can't run: its writer can't be fetched" >&2
        exit 1
    fi
    echo "The test of TIFFs will be skipped: its writer can't be fetched"
    exit 0
}
printf '%s\n' "$wanted" >"$directory/installed"
