# What the scripts for Docker share; they source it.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need DEVICE 'cpu or gpu'
[[ "$DEVICE" == cpu || "$DEVICE" == gpu ]] ||
  fail "DEVICE is $DEVICE; give cpu or gpu"
