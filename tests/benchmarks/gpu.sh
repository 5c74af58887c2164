#!/usr/bin/env bash
# Everything that needs a GPU, in one command of at most nine minutes (GPU_SECONDS); see tests/benchmarks/__init__.py.
#
#   tests/benchmarks/gpu.sh [PART ...] [--small]
#
# Without a GPU, or with --small, the same parts run the miniatures on a few images. The interpreter is PYTHON, by
# default python3. If it lacks wsss-seed, a virtual environment is made in .venv/gpu, which also sees the packages of
# that interpreter; where pip reaches no registry, PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER name a folder of wheels.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export HF_HUB_OFFLINE=1 WSSS_SEED_OFFLINE=1
python=${PYTHON:-python3}

installed() {
  "$1" -c 'from importlib.metadata import version; version("wsss-seed"); import tests.benchmarks.gpu.models' 2> /dev/null
}

if ! installed "$python"; then
  own=.venv/gpu/bin/python
  if ! installed "$own"; then
    "$python" -m venv .venv/gpu
    "$python" -c 'import site; print(*site.getsitepackages(), sep="\n")' \
      > "$("$own" -c 'import site; print(site.getsitepackages()[0])')/below.pth"
    timeout 300 "$own" -m pip install -q ".[segmenter]" >&2 || {
      echo '{"part": "installation", "error": "pip failed; see standard error"}'
      exit 1
    }
  fi
  python=$own
fi
exec "$python" -m tests.benchmarks.gpu --seconds $((${GPU_SECONDS:-540} - SECONDS)) "$@"
