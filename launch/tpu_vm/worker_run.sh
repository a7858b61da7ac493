#!/usr/bin/env bash
# Runs on a worker: worker_run.sh RUN FLAGS... starts the training in tmux.
set -euo pipefail
cd "$(dirname "$0")/../.."

run="$1"
workdir="$HOME/runs/$run"
shift
# Any run counts: the chips serve one process at a time.
if tmux has-session -t faceqat 2> /dev/null; then
  echo "$(hostname): a training runs already"
  exit
fi
mkdir -p "$workdir"
printf -v quoted ' %q' .venv/bin/python -m faceqat.main --distributed \
  "--workdir=$workdir" "$@"
tmux new-session -d -s faceqat \
  "exec$quoted >> $(printf %q "$workdir/log.txt") 2>&1"
echo "$(hostname): started, see runs/$run/log.txt"
