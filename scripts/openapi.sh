#!/bin/sh
# Holds the API document to the rules in redocly.yaml. The linter is installed
# from npm once, into bin/, and works without the network from then on.
set -eu

version=2.77.0
folder=bin/redocly-$version
if [ ! -d "$folder" ]; then
	sh scripts/tools.sh node:nodejs npm:npm
	rm -rf "$folder.new" # of one that was broken off
	mkdir -p "$folder.new"
	npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix "$folder.new" "@redocly/cli@$version"
	mv "$folder.new" "$folder"
fi
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
if ! report=$("$folder/node_modules/.bin/redocly" lint --config redocly.yaml --format=stylish internal/httpapi/openapi.yaml 2>&1); then
	printf '%s\n' "$report" >&2
	exit 1
fi
