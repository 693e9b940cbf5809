#!/bin/sh
# A project on TensorFlow 2.15 and tensorflow-addons loads what medzoo writes: `make legacy`.
# Needs Python 3.11 (TensorFlow 2.15 has no later wheels) and some 600 MB in .venv-legacy.
set -eu
PYTHON="${PYTHON:-python3}"
root="$(cd "$(dirname "$0")/.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

legacy="$root/.venv-legacy"
if [ ! -f "$legacy/installed" ]; then
    python3.11 -m venv "$legacy"
    "$legacy/bin/python" -m pip install --quiet --disable-pip-version-check \
        'tensorflow-cpu==2.15.1' 'keras==2.15.0' 'tensorflow-addons==0.23.0'
    touch "$legacy/installed"
fi

case "$PYTHON" in */*) PYTHON="$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")" ;; esac
medzoo="$(dirname "$PYTHON")/medzoo"
cd "$work"
"$medzoo" transplant --mode random --model resnet50 --classes 1000 --channels 3 --out by_order.h5 > /dev/null
"$medzoo" weights convert by_order.h5 by_name.h5 --to keras_applications > /dev/null
TF_CPP_MIN_LOG_LEVEL=3 "$legacy/bin/python" -W ignore "$root/tests/legacy_load.py" by_order.h5 by_name.h5
