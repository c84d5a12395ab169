#!/usr/bin/env bash
# Lint, then every test; both run whatever the other says, so that the last line is pytest's summary.
# Without arguments, three processes share the tests (tests/sharing.py).
cd "$(dirname "$0")/.." || exit 1
status=0
scripts/lint.sh || { status=1; echo "lint failed (above); the tests run all the same" >&2; }
[ $# -gt 0 ] || set -- --numprocesses 3
python -m pytest "$@" || status=$?
exit "$status"
