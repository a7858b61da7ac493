# Shared by the scripts for Docker, which source it.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

need DEVICE 'cpu or gpu'
[[ "$DEVICE" == cpu || "$DEVICE" == gpu ]] ||
  fail "DEVICE is $DEVICE; give cpu or gpu"
