#!/usr/bin/env bash
# Virtual environment, packages, headless OpenGL. Does nothing when all of it is there for these files; called by `make`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
as_root=()
if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then as_root=(sudo -n); fi

# apt_install WHY PACKAGE...: installs where it may, otherwise stops with the command to type.
apt_install() {
    local why=$1
    shift
    if command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || [ ${#as_root[@]} -gt 0 ]; }; then
        echo "set-up: $why; installing $*"
        "${as_root[@]}" apt-get update -qq || true # a stale list may still hold what is wanted; the install says so if not
        if DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "$@"; then return 0; fi
    fi
    echo "set-up: $why, and it cannot be installed from here. Run as root, then type the same make command again:" >&2
    echo "    apt-get install -y $*" >&2
    exit 1
}

# What pip needs not: installed beside it, as both take minutes.
system_packages() {
    # Tests of clusters are skipped, with the reason, where there is no Slurm to start; it may not be possible to install one.
    if [ "${VISAGENT_REQUIRE_SLURM:-}" = 1 ] && ! { [ -x /usr/sbin/slurmctld ] && [ -x /usr/sbin/mariadbd ] && [ -x /usr/sbin/munged ] && [ -d /usr/lib/postgresql ]; }; then
        (apt_install "no Slurm for the tests of clusters" slurm-wlm munge slurmdbd mariadb-server postgresql) || true
    fi
    # Tests that look at pages are skipped without a browser; where it is required, it is installed.
    if [ "${VISAGENT_REQUIRE_BROWSER:-}" = 1 ] && ! { command -v chromium && command -v chromedriver; } >/dev/null; then
        apt_install "no browser for the tests that look at pages" chromium chromium-driver
    fi
    # Without a compiler the op runs in plain PyTorch, with a warning; where it is required, one is installed.
    if [ "${VISAGENT_REQUIRE_OP:-}" = 1 ] && ! command -v "${CXX:-g++}" >/dev/null; then apt_install "no C++ compiler for the shift op" g++; fi
}
system_packages &
beside=$!

stamp=.venv/.set-up
key=$(cat pyproject.toml constraints.txt scripts/setup.sh cuda_ext/build.py cuda_ext/csrc/* | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$key" ]; then
    wait $beside
    exit 0
fi

command -v "$python" >/dev/null || apt_install "no $python" python3 python3-venv
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "set-up: visagent needs Python 3.11 or newer, got $("$python" --version 2>&1): type make PYTHON=/path/to/python3.11" >&2
    exit 1
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install "Python's venv module is missing" python3-venv

echo "set-up: installing into .venv (about 5 minutes and 8 GB the first time)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[atari,dev,docs,export,minari,ray,robosuite,search,secant,server,tensorboard,torchcodec]'

wait $beside
# pip would compile 25,000 modules. A command needs a fifth of them; those of all commands are compiled here, beside the op.
.venv/bin/python -c 'import mlflow.tracking, matplotlib.pyplot, visagent.cli, visagent.runtime.fitting, visagent.runtime.mlflow_logger, visagent.tables.command' 2>/dev/null &
compiled=$!

renders() { .venv/bin/python -c 'from visagent.scenes.render import probe; print("set-up: headless OpenGL works with MUJOCO_GL=" + probe())' 2>/dev/null; }
if ! renders; then
    apt_install "no headless OpenGL for rendering the embedded scenes" libegl1 libgl1-mesa-dri libosmesa6
    renders || {
        echo "set-up: MuJoCo still cannot render without a display; this says why:" >&2
        .venv/bin/python -c 'from visagent.scenes.render import probe; probe()'
    }
fi
# torchcodec's wheel holds no FFmpeg: without one the backend says so, and its tests are skipped; where they are required, it is installed.
if [ "${VISAGENT_REQUIRE_TORCHCODEC:-}" = 1 ] && ! .venv/bin/python -c 'import torchcodec.decoders' 2>/dev/null; then
    apt_install "no FFmpeg for datamodule.backend=torchcodec" ffmpeg
fi
.venv/bin/python -m cuda_ext.build
wait $compiled || true # what is wrong, a command says
echo "$key" >"$stamp"
