#!/usr/bin/env bash
# Fetches the page at /api/docs from npm: pinned, compressed, with its licences.
set -euo pipefail
cd "$(dirname "$0")/../../api/docs"
version=5.35.0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm pack --silent "swagger-ui-dist@$version" >/dev/null && tar xzf ./*.tgz)
for file in swagger-ui-bundle.js swagger-ui.css; do
  gzip -9nc "$folder/package/$file" >"$file.gz"
done
cp "$folder/package/swagger-ui-bundle.js.LICENSE.txt" .
cp "$folder/package/LICENSE" LICENSE-swagger-ui.txt
cp "$folder/package/NOTICE" NOTICE-swagger-ui.txt
