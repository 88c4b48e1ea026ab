#!/bin/sh
# Runs the Postman collection against a server of its own: `postman.sh PIXERVE TEST_SERVERS`, from the top directory.
# Twice: with the key of jwt.json, so that it signs its tokens, and with tokens. It gets baseUrl and photo (a PNG's path).
set -eu

pixerve=$(realpath "$1")
newman=$(realpath "$2/node/node_modules/.bin/newman")
collection=$(realpath "${COLLECTION:-Pixerve.postman_collection.json}")

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
        tail -n 50 "$work/server.log" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM

# From here on in a directory without a .env, and with no variables but these.
cd "$work"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
base_url=http://127.0.0.1:$port
# Always in a subshell, which becomes the program: a signal to the one reaches the other.
with_settings() {
    exec env -i PATH="$PATH" HOME="$work" TMPDIR="$work" \
        PIXERVE_ADDR="127.0.0.1:$port" PIXERVE_DATA_DIR="$work/data" PIXERVE_SERVE_DIR="$work/serve" PIXERVE_PRIVATE_DIR="$work/private" \
        PIXERVE_JWT_FILE="$work/jwt.json" PIXERVE_CALLBACK_ALLOW=127.0.0.0/8 PIXERVE_SERVER_PAGE=true "$@"
}

with_settings "$pixerve" serve >"$work/server.log" 2>&1 &
server=$!

is_up=""
for _ in $(seq 300); do
    if curl --silent --fail --output /dev/null "$base_url/health"; then
        is_up=yes
        break
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
if [ -z "$is_up" ]; then
    echo "The server did not come up at $base_url" >&2
    exit 1
fi

# 64 x 48 pixels of a gradient.
python3 - photo.png <<'PYTHON'
import struct, sys, zlib

width, height = 64, 48
rows = b"".join(b"\0" + bytes(v for x in range(width) for v in (x * 4, y * 5, 128)) for y in range(height))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
with open(sys.argv[1], "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
PYTHON

cat >job.json <<'JSON'
{
  "keepOriginal": true,
  "formats": {"jpg": {"settings": {"quality": 80}, "sizes": [[32, 24]]}, "webp": {"sizes": [[16]]}},
  "directHost": true,
  "subDir": "postman"
}
JSON

cat >other.json <<'JSON'
{"formats": {"webp": {"sizes": [[20]]}}, "directHost": true, "subDir": "postman"}
JSON

# No colour and no spinner: the output ends up in files.
run_collection() {
    "$newman" run "$collection" --working-dir "$work" --color off --disable-unicode --timeout 300000 \
        --env-var "baseUrl=$base_url" --env-var "photo=$work/photo.png" "$@" </dev/null
}

echo "With tokens that the collection signs itself:"
jwt_key() { python3 -c 'import json, sys; print(json.load(open("jwt.json"))["keys"][0][sys.argv[1]])' "$1"; }
run_collection --env-var "jwtSecret=$(jwt_key secret)" --env-var "jwtKid=$(jwt_key kid)"

echo "With tokens that are given:"
user_token=$(with_settings "$pixerve" token --sub postman --job job.json)
admin_token=$(with_settings "$pixerve" token --sub postman-admin --admin)
manager_token=$(with_settings "$pixerve" token --sub postman --scope manage --job other.json)
reader_token=$(with_settings "$pixerve" token --sub postman --read /private/)
run_collection --env-var "userToken=$user_token" --env-var "adminToken=$admin_token" \
    --env-var "managerToken=$manager_token" --env-var "readerToken=$reader_token"
