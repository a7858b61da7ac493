#!/usr/bin/env bash
# Trains in a container in the background, unless that run is in progress.
#
#   DEVICE=gpu CONFIG=configs/mbv2_int8.py RUN=mbv2_int8 [DATA=/data/faces] \
#     launch/docker/run.sh [--dry-run] [--config.data.path=/data ...]
#
# The run is in runs/ here; the folder DATA is /data inside.
set -euo pipefail
source "$(dirname "$0")/common.sh"
need_config
need RUN 'the name of the run, a folder in runs/'
[[ -z "${DATA:-}" || -d "$DATA" ]] ||
  fail "DATA is $DATA, but there is no such folder"

name="faceqat-$RUN"
state="$(run docker container ls --all "--filter=name=^$name\$" \
  '--format={{.State}}')"
if [[ "$state" == running ]]; then
  echo "$name runs already; to watch it:  docker logs --follow $name"
  exit
fi
# A container that ended keeps its log until the run is resumed.
[[ -z "$state" ]] || run docker container rm "$name"
run mkdir -p "$root/runs"
gpus=
[[ "$DEVICE" == cpu ]] || gpus=--gpus=all
# With --init, `docker stop` reaches the training, which then saves.
run docker run --detach --init "--name=$name" ${gpus:+"$gpus"} \
  "--user=$(id -u):$(id -g)" "--volume=$root/runs:/runs" \
  ${DATA:+"--volume=$(realpath "$DATA"):/data:ro"} "faceqat:$DEVICE" \
  "--config=$CONFIG" "--workdir=/runs/$RUN" "$@"
