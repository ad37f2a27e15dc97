#!/bin/bash
# Build the image and run it as it will be run: read-only, without capabilities, as another user, without a database.
#
#   docker/smoke.sh [BASE]
#
# Without an engine that answers, and as root, it starts Debian's (docker.io) in a temporary folder. Without BASE, and
# where no registry answers, it makes a base by debootstrap. With PGHOST, PGPORT and so on it diagnoses that server, too.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
engine=
container=

fail() {
    echo "smoke: $*" >&2
    exit 1
}

clean() {
    [ -z "$container" ] || docker rm --force "$container" >/dev/null 2>&1 || true
    [ -z "$engine" ] || { kill "$engine" && wait "$engine"; } 2>/dev/null || true
    # The engine leaves mounts of its own behind.
    awk -v below="$scratch/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r umount || true
    rm -rf --one-file-system "$scratch" || true
}
trap clean EXIT

start_engine() {
    command -v dockerd >/dev/null || fail "no engine answers, and there is no dockerd: install docker.io"
    export DOCKER_HOST=unix://$scratch/docker.sock
    dockerd --host "$DOCKER_HOST" --data-root "$scratch/data" --exec-root "$scratch/exec" \
        --pidfile "$scratch/docker.pid" --storage-driver vfs --bridge none --iptables=false --ip6tables=false \
        >"$scratch/dockerd.log" 2>&1 &
    engine=$!
    for _ in $(seq 120); do
        docker info >/dev/null 2>&1 && return
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.5
    done
    tail -3 "$scratch/dockerd.log" >&2
    fail "the engine does not start"
}

# make_base NAME: Debian with Python, and with all that the build installs, for it may have no network.
make_base() {
    command -v debootstrap >/dev/null || fail "no registry answers, and there is no debootstrap: name a BASE"
    mkdir -p "$scratch/wheels"
    python3 -m pip download --quiet --disable-pip-version-check --constraint constraints.txt --python-version 3.11 \
        --only-binary :all: --dest "$scratch/wheels" . 'hatchling>=1.27' >&2
    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,python-is-python3 bookworm \
        "$scratch/base" >&2
    umount "$scratch/base/proc" 2>/dev/null || true
    printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' >"$scratch/base/etc/pip.conf"
    cp -r "$scratch/wheels" "$scratch/base/opt/wheels"
    tar --one-file-system -C "$scratch/base" -c . | docker import - "$1" >/dev/null
    rm -rf --one-file-system "$scratch/base"
}

wait_for() {
    for _ in $(seq 120); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.5
    done
    docker logs "$container" >&2
    fail "it never came: $*"
}

is_healthy() {
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$container")" = healthy ]
}

docker info >/dev/null 2>&1 || start_engine
base=${1:-python:3.13-slim}
if [ $# = 0 ] && ! timeout 60 docker pull --quiet "$base" >/dev/null 2>&1; then
    base=pgdoctor-base:smoke
    docker image inspect "$base" >/dev/null 2>&1 || make_base "$base"
fi

docker build --network host --build-arg BASE="$base" --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --file docker/Dockerfile --tag pgdoctor:smoke . >"$scratch/build.log" 2>&1 ||
    { tail -5 "$scratch/build.log" >&2; fail "the image does not build"; }
bytes() { docker image inspect --format '{{.Size}}' "$1"; }
echo "size beyond the base: $((($(bytes pgdoctor:smoke) - $(bytes "$base")) / 1000000)) MB"
docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}' pgdoctor:smoke |
    grep -qx "$(docker run --rm --network host pgdoctor:smoke --version | sed 's/.* //')" ||
    fail "the label of the version is not that of the program"

# On another port than the image's own: the health check has to follow. The journal's volume belongs to the image's user,
# so another one gets a folder in memory.
port=${PGDOCTOR_SMOKE_PORT:-19899}
container=$(docker run --detach --network host --read-only --cap-drop ALL --security-opt no-new-privileges \
    --user 23456:23456 --tmpfs /var/lib/pgdoctor:uid=23456,mode=700 --health-interval 1s \
    --env PGDOCTOR_LISTEN="127.0.0.1:$port" --env PGHOST="${PGHOST:-127.0.0.1}" --env PGPORT="${PGPORT:-1}" \
    --env PGUSER="${PGUSER:-pgdoctor}" --env PGDATABASE="${PGDATABASE:-postgres}" \
    --env PGPASSWORD="${PGPASSWORD:-}" pgdoctor:smoke)
wait_for is_healthy
python3 - "$port" <<'PYTHON' || fail "it serves no metrics"
import sys, urllib.request

text = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10).read().decode()
assert "\npgdoctor_up " in text, text[:300]
PYTHON
if [ -n "${PGHOST:-}" ]; then
    docker exec "$container" pgdoctor diagnose || fail "it does not diagnose $PGHOST"
fi
docker stop --time 20 "$container" >/dev/null
status=$(docker inspect --format '{{.State.ExitCode}}' "$container")
[ "$status" = 0 ] || fail "it ended with status $status at SIGTERM"
echo "smoke: built, healthy on a read-only root as another user, stopped at once"
