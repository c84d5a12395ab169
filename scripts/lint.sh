#!/usr/bin/env bash
# Style, formatting and types. Runs all three so that one run shows everything.
cd "$(dirname "$0")/.." || exit 1
status=0
ruff check . || status=1
ruff format --check . || status=1
mypy || status=1
exit $status
