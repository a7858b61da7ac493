#!/usr/bin/env bash
# Queues a training on the GPUs of one or more nodes, unless it is queued.
#
#   NODES=2 GPUS_PER_NODE=8 CONFIG=configs/mbv2_int8.py WORKDIR=/shared/mbv2 \
#     launch/slurm/submit.sh [--dry-run] [--config.batch_size=1024 ...]
#
# sbatch reads SBATCH_PARTITION, SBATCH_ACCOUNT and SBATCH_TIMELIMIT itself.
set -euo pipefail
source "$(dirname "$0")/../common.sh"
need NODES 'the number of nodes'
need GPUS_PER_NODE 'the number of GPUs of each node'
need_config
need WORKDIR 'the folder of the run, which the first node can write'
[[ "$WORKDIR" == /* ]] || fail "WORKDIR is $WORKDIR; give it from / on"

name="faceqat:$WORKDIR"
jobs="$(run squeue --me "--name=$name" --noheader --format=%i)"
if [[ -n "$jobs" ]]; then
  echo "job ${jobs//$'\n'/, } of $WORKDIR is queued or runs already"
  exit
fi
run mkdir -p "$WORKDIR"
# One process for each GPU. Each sees all GPUs of its node and takes the one
# with its number, so GPUs are requested by node, not by task.
run sbatch "--job-name=$name" "--nodes=$NODES" \
  "--ntasks-per-node=$GPUS_PER_NODE" "--gpus-per-node=$GPUS_PER_NODE" \
  "--cpus-per-task=${CPUS_PER_GPU:-4}" "--chdir=$root" \
  "--output=$WORKDIR/slurm-%j.txt" "$root/launch/slurm/train.sbatch" \
  "--config=$CONFIG" "--workdir=$WORKDIR" "$@"
