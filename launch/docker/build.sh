#!/usr/bin/env bash
# Builds the image faceqat:cpu or faceqat:gpu; keeps layers that did not change.
#
#   DEVICE=gpu launch/docker/build.sh [--dry-run] [options of docker build]
set -euo pipefail
source "$(dirname "$0")/common.sh"

run docker build "--file=$root/launch/docker/Dockerfile.$DEVICE" \
  "--tag=faceqat:$DEVICE" "$@" "$root"
