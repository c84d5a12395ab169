#!/usr/bin/env bash
# Makes the virtual environment .venv with the platform and the tools of its developers in it.
#
# Does nothing when neither the place, the interpreter, pyproject.toml nor constraints.txt has changed since.
# PYTHON=… chooses the interpreter; otherwise Debian's own, which is built to be fast, or the first python3, if 3.11 or newer.
set -euo pipefail
cd "$(dirname "$0")/.."

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}
python=
for candidate in ${PYTHON:-/usr/bin/python3 python3}; do
    if usable "$candidate"; then
        python=$(command -v "$candidate")
        break
    fi
done
[ -n "$python" ] || { echo "venv.sh: no Python 3.11 or newer with the venv module found" >&2; exit 1; }

# An environment that works is kept, whichever interpreter made it.
if [ -x .venv/bin/python ] && ! usable .venv/bin/python; then
    rm -rf .venv
fi
stamp=.venv/installed
wanted=$({ pwd; cat pyproject.toml constraints.txt; } | sha256sum)
[ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || exit 0

echo "installing Python packages into .venv"
[ -x .venv/bin/python ] || "$python" -m venv .venv
# PIP_CONSTRAINT binds the build's own packages as well, which -c does not.
PIP_CONSTRAINT="$PWD/constraints.txt" PIP_DISABLE_PIP_VERSION_CHECK=1 \
    .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
printf '%s\n' "$wanted" >"$stamp"
