#!/bin/sh
# Writes the manual and the completions of shells, as a package has them: `manual.sh BINARY DIR`.
set -eu

binary=$1
dir=$2
rm -rf "$dir"
mkdir -p "$dir"
"$binary" man --dir "$dir"
"$binary" completions bash >"$dir/pixerve.bash"
"$binary" completions zsh >"$dir/_pixerve"
"$binary" completions fish >"$dir/pixerve.fish"
