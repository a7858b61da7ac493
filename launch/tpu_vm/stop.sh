#!/usr/bin/env bash
# Tells the training of a TPU VM to save and stop; run.sh resumes it.
#
#   TPU_NAME=faceqat ZONE=us-east5-b launch/tpu_vm/stop.sh [--dry-run]
set -euo pipefail
source "$(dirname "$0")/common.sh"

# One worker is enough: all stop after the same step.
tpu_vm ssh "$TPU_NAME" "${where[@]}" --worker=0 \
  '--command=tmux send-keys -t faceqat C-c'
