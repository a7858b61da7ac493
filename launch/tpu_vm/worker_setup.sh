#!/usr/bin/env bash
# Runs on a worker: makes the environment, and copies the images of a bucket to
# ~/data. Keeps what exists.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v tmux > /dev/null || sudo apt-get install --yes tmux
# The system's Python may be older than 3.11.
python3 -m pip install --user --quiet uv
uv="$(python3 -m site --user-base)/bin/uv"
[[ -x .venv/bin/python ]] || "$uv" venv --python 3.11 .venv
sed 's/^jax==/jax[tpu]==/' requirements.txt |
  "$uv" pip install --python .venv/bin/python --requirement -
if [[ $# -gt 0 ]]; then
  mkdir -p ~/data
  gcloud storage rsync --recursive "$1" ~/data
fi
