# Shared by the scripts for TPU VMs, which source it.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need TPU_NAME 'the name of the TPU VM, such as faceqat'
need ZONE 'its zone, such as us-east5-b'
# Without PROJECT, gcloud's default.
where=("--zone=$ZONE" ${PROJECT:+"--project=$PROJECT"})

tpu_vm() {
  run gcloud compute tpus tpu-vm "$@"
}

# Whether the zone has the TPU VM. A failing gcloud ends the script, and does
# not count as no.
exists() {
  local names
  names="$(tpu_vm list "${where[@]}" '--format=value(name.basename())')" ||
    exit 1
  grep --quiet --line-regexp --fixed-strings "$TPU_NAME" <<< "$names"
}

# on_workers WHICH SCRIPT...: runs a script of this folder on a worker, or all.
on_workers() {
  local which="$1" quoted
  shift
  printf -v quoted ' %q' "$@"
  tpu_vm ssh "$TPU_NAME" "${where[@]}" "--worker=$which" \
    "--command=bash faceqat/launch/tpu_vm/${quoted:1}"
}
