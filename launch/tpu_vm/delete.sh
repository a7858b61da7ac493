#!/usr/bin/env bash
# Deletes a TPU VM with its disks, if it exists. gcloud asks first.
#
#   TPU_NAME=faceqat ZONE=us-east5-b launch/tpu_vm/delete.sh [--dry-run]
set -euo pipefail
source "$(dirname "$0")/common.sh"

if ! exists && [[ -z "$dry_run" ]]; then
  echo "$TPU_NAME does not exist: nothing to delete"
  exit
fi
tpu_vm delete "$TPU_NAME" "${where[@]}" "$@"
