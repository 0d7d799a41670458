#!/bin/sh
# Sees to it that `make run` has a secret: if neither the environment nor .env
# sets one, a random one goes into .env. A secret made here begins with "dev-",
# and is shown; any other is not.
set -eu

if [ -n "${WEBHOOK_SECRET:-}${WEBHOOK_SECRET_FILE:-}" ]; then
	exit 0
fi
# As lyftr reads .env: an empty value counts as none.
value="[[:space:]]*[=:][[:space:]]*(\"[^\"]|'[^']|[^\"'#[:space:]])"
name='^[[:space:]]*(export[[:space:]]+)?WEBHOOK_SECRET'
if ! { [ -f .env ] && grep -Eq "$name(_FILE)?$value" .env; }; then
	secret=dev-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
	[ "${#secret}" -eq 52 ] || { echo "make run: no random secret from /dev/urandom; set WEBHOOK_SECRET" >&2; exit 1; }
	umask 077
	if [ -s .env ] && [ -n "$(tail -c 1 .env)" ]; then
		echo >>.env # its last line was not ended
	fi
	echo "WEBHOOK_SECRET=$secret" >>.env
	chmod 600 .env
fi
# On standard error, so that standard output is the service's log alone.
sed -n 's/^WEBHOOK_SECRET=dev-/Development secret, kept in .env: WEBHOOK_SECRET=dev-/p' .env >&2
