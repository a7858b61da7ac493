#!/usr/bin/env bash
# Copies a run to runs/ here from the first worker, the only one that saves.
#
#   TPU_NAME=faceqat ZONE=us-east5-b RUN=mbv2_int8 \
#     launch/tpu_vm/fetch.sh [--dry-run]
set -euo pipefail
source "$(dirname "$0")/common.sh"
need RUN 'the name of the run, a folder in ~/runs of the first worker'

run mkdir -p "$root/runs"
tpu_vm scp --recurse "$TPU_NAME:runs/$RUN" "$root/runs/" "${where[@]}" \
  --worker=0
