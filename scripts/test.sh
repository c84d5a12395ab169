#!/usr/bin/env bash
# Lint and every test, at the same time; both run whatever the other says.
# Without arguments, four processes share the tests (tests/sharing.py).
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- --numprocesses 4
said=$(mktemp)
trap 'rm -f "$said"' EXIT
scripts/lint.sh >"$said" 2>&1 &
python -m pytest "$@"
status=$?
wait $! || { cat "$said"; echo "lint failed (above)"; status=1; }
exit "$status"
