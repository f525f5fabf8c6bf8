#!/usr/bin/env bash
# Asks a real bin/hishamos, on the embedded profile, for everything that its
# description says and much that it forbids: at least 5,000 requests. Fails on a
# server error, a status or an answer that is not described, or an invalid request
# that is accepted. Installs schemathesis in a folder of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=4.32.5
examples=${EXAMPLES:-90}
least=${LEAST:-5000}
folder=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi
  rm -rf "$folder"
}
trap finish EXIT

if [ -z "${SCHEMATHESIS:-}" ]; then
  python3 -m venv "$folder/venv"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
  SCHEMATHESIS=$folder/venv/bin/schemathesis
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export HISHAMOS_DATA=$folder/data XDG_CONFIG_HOME=$folder/config HISHAMOS_LISTEN=127.0.0.1:$port
export HISHAMOS_TOKEN_REQUESTS=0 HISHAMOS_TENANT_REQUESTS=0
unset OPENAI_API_KEY HISHAMOS_TOKEN HISHAMOS_URL
chmod 755 "$folder" # the embedded Postgres of root runs as another user
bin/hishamos serve >"$folder/server.log" 2>&1 &
server=$!
for _ in $(seq 120); do
  curl --silent --fail "http://127.0.0.1:$port/ready" >/dev/null && break
  sleep 1
done
HISHAMOS_TOKEN=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["token"])' "$folder/config/hishamos/client.json")
export HISHAMOS_TOKEN

status=0
"$SCHEMATHESIS" --config-file internal/tools/schemathesis.toml run "http://127.0.0.1:$port/api/openapi.json" \
  --max-examples "$examples" --no-color >"$folder/report" 2>&1 || status=$?
sed -n '/= SUMMARY =/,$p' "$folder/report"
if [ "$status" -ne 0 ]; then
  cat "$folder/report"
  exit "$status"
fi
asked=$(sed -nE 's/^ *([0-9,]+) generated.*/\1/p' "$folder/report" | tr -d ,)
if [ "${asked:-0}" -lt "$least" ]; then
  echo "only ${asked:-0} requests were made; raise EXAMPLES" >&2
  exit 1
fi
if grep -c '"level":"ERROR"' "$folder/server.log"; then
  grep '"level":"ERROR"' "$folder/server.log" | head >&2
  exit 1
fi
