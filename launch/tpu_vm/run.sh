#!/usr/bin/env bash
# Trains on all workers of a TPU VM, in tmux, so a lost connection ends nothing.
# Leaves a running training alone, and resumes one that was stopped.
#
#   TPU_NAME=faceqat ZONE=us-east5-b CONFIG=configs/mbv2_int8.py RUN=mbv2_int8 \
#     launch/tpu_vm/run.sh [--dry-run] [--config.batch_size=1024 ...]
set -euo pipefail
source "$(dirname "$0")/common.sh"
need_config
need RUN 'the name of the run, a folder in ~/runs of the first worker'

on_workers all worker_run.sh "$RUN" "--config=$CONFIG" "$@"
echo "to watch it:  gcloud compute tpus tpu-vm ssh $TPU_NAME ${where[*]}" \
  "--worker=0 --command='tail -f runs/$RUN/log.txt'"
