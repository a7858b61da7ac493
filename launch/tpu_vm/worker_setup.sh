#!/usr/bin/env bash
# On a worker: makes the environment, and copies the images of a bucket to
# ~/data. What is there already is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v tmux > /dev/null || sudo apt-get install --yes tmux
# The system's Python may be older than the 3.11 that is needed.
python3 -m pip install --user --quiet uv
uv="$(python3 -m site --user-base)/bin/uv"
[[ -x .venv/bin/python ]] || "$uv" venv --python 3.11 .venv
sed 's/^jax==/jax[tpu]==/' requirements.txt |
  "$uv" pip install --python .venv/bin/python --requirement -
if [[ $# -gt 0 ]]; then
  mkdir -p ~/data
  gcloud storage rsync --recursive "$1" ~/data
fi
