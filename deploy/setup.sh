#!/bin/sh
# Make the virtual environment of the project, once: run from the root of the clone by `make`.
# HSNN_VENV names its folder (.venv by default). Nothing is done again until requirements.lock, pyproject.toml, the
# clone's place or the interpreter change; after that no network is needed. An environment holds the code of one clone:
# where another clone owns it, set-up stops, unless HSNN_VENV_TAKE=1 says to take it over.
set -eu
venv=${HSNN_VENV:-.venv}
stamp=$venv/hsnn.stamp

here=$(pwd -P)

installed() { # the dependencies there, and the project they were installed for
    cat requirements.lock pyproject.toml | cksum
    echo "$here"
}

if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(installed)" ] && "$venv/bin/python" -c ''; then
    exit 0
fi

owner=
[ ! -f "$stamp" ] || owner=$(sed -n 2p "$stamp")
if [ -n "$owner" ] && [ "$owner" != "$here" ]; then
    # a clone that was moved or deleted owns nothing any more
    if [ -f "$owner/deploy/setup.sh" ] && [ "${HSNN_VENV_TAKE:-}" != 1 ]; then
        echo "$venv belongs to another clone, $owner: set up from here, it would run the code of $here" >&2
        echo "for that one, too. Name another folder with HSNN_VENV, or say HSNN_VENV_TAKE=1 to take it over." >&2
        exit 1
    fi
    echo "$venv was set up for $owner; from now on it runs the code of $here."
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

echo "Setting up $venv with $("$python" --version): once, one or two minutes, about 5 GB with PyTorch."
[ -x "$venv/bin/python" ] && recent "$venv/bin/python" || "$python" -m venv "$venv"
# the owner is known while the work goes on, and when it fails
printf 'unfinished\n%s\n' "$here" >"$stamp"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
# the build tool is among the pinned dependencies, so that nothing is fetched for the build
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
installed >"$stamp"
echo "Set up."
