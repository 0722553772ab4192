#!/bin/sh
# Make the virtual environment of the project, once: run from the root of the clone by `make`.
# HSNN_VENV names its folder (.venv by default). Nothing is done again until requirements.lock, pyproject.toml, the
# clone's place or the interpreter change; after that no network is needed.
set -eu
venv=${HSNN_VENV:-.venv}
stamp=$venv/hsnn.stamp

installed() { # the dependencies there, and the project they were installed for
    cat requirements.lock pyproject.toml | cksum
    pwd -P
}

if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(installed)" ] && "$venv/bin/python" -c ''; then
    exit 0
fi

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

python=
for candidate in python3.11 python3; do
    if recent "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "hsnn needs Python 3.11 or newer; neither python3.11 nor python3 is one. Install it (with its venv module) and" >&2
    echo "make sure that one of the two is on the PATH." >&2
    exit 1
fi

[ ! -f "$stamp" ] || last=$(sed -n 2p "$stamp")
if [ "${last:-$(pwd -P)}" != "$(pwd -P)" ]; then
    echo "$venv was set up for $last; from now on it runs the code of $(pwd -P)."
fi
echo "Setting up $venv with $("$python" --version): once, one or two minutes, about 5 GB with PyTorch."
[ -x "$venv/bin/python" ] && recent "$venv/bin/python" || "$python" -m venv "$venv"
rm -f "$stamp"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
# the build tool is among the pinned dependencies, so that nothing is fetched for the build
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
installed >"$stamp"
echo "Set up."
