#!/usr/bin/env bash
# Installs the commit that is checked out here on every worker of a TPU VM, and
# copies training images there from a bucket that the workers may read.
#
#   TPU_NAME=faceqat ZONE=us-east5-b [DATA=gs://bucket/faces] \
#     launch/tpu_vm/setup.sh [--dry-run]
set -euo pipefail
source "$(dirname "$0")/common.sh"
[[ $# == 0 ]] || fail "unexpected argument $1; the variables say it all"

archive="${TMPDIR:-/tmp}/faceqat.tar"
if [[ -z "$dry_run" && -n "$(git -C "$root" status --porcelain)" ]]; then
  echo 'what is not committed stays here' >&2
fi
run git -C "$root" archive --format=tar "--output=$archive" HEAD
tpu_vm scp "$archive" "$TPU_NAME:faceqat.tar" "${where[@]}" --worker=all
tpu_vm ssh "$TPU_NAME" "${where[@]}" --worker=all \
  '--command=mkdir -p faceqat && tar -xf faceqat.tar -C faceqat'
on_workers all worker_setup.sh ${DATA:+"$DATA"}
