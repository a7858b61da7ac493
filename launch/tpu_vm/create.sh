#!/usr/bin/env bash
# Creates a TPU VM, unless it exists.
#
#   TPU_NAME=faceqat ZONE=us-east5-b ACCELERATOR=v6e-8 VERSION=v2-alpha-tpuv6e \
#     launch/tpu_vm/create.sh [--dry-run] [options of gcloud, such as --spot]
set -euo pipefail
source "$(dirname "$0")/common.sh"
need ACCELERATOR 'the kind and number of chips, such as v6e-8'
need VERSION 'the system of that kind of TPU, such as v2-alpha-tpuv6e'

if exists; then
  echo "$TPU_NAME exists already: nothing to create"
  exit
fi
tpu_vm create "$TPU_NAME" "${where[@]}" "--accelerator-type=$ACCELERATOR" \
  "--version=$VERSION" "$@"
