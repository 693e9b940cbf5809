#!/bin/sh
# Builds the wheel, installs it into an empty environment and runs the two light commands from another folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$PYTHON" -m build --wheel --outdir "$folder/dist" . >"$folder/build.log" 2>&1 || { cat "$folder/build.log"; exit 1; }
"$PYTHON" -m venv "$folder/empty"
"$folder/empty/bin/python" -m pip install --quiet --disable-pip-version-check "$folder"/dist/medzoo-*.whl
mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
"$folder/empty/bin/medzoo" --help
"$folder/empty/bin/medzoo" transplant --src imagenet --mode stats >plan.txt
tail -n 1 plan.txt
test -s mobilenet_075.imagenet.stats.weights.h5
test -s mobilenet_075.imagenet.stats.plan.json
"$folder/empty/bin/python" -m medzoo.cli models >/dev/null
if "$folder/empty/bin/python" -c 'import cli' 2>/dev/null; then echo "the wheel installs a top-level cli"; exit 1; fi
echo "wheel: built, installed, ran"
