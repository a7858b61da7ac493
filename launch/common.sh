# Shared by the launch scripts, which source it.

dry_run=
if [[ "${1:-}" == --dry-run ]]; then
  dry_run=1
  shift
fi

# The folder of the checkout.
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# Ends the script with one sentence.
fail() {
  echo "error: $*" >&2
  exit 1
}

# need NAME WHAT: ends the script if the variable NAME is not set.
need() {
  [[ -n "${!1:-}" ]] || fail "$1 is not set; it is $2"
}

# Ends the script without CONFIG, a file that may have a form after a colon.
need_config() {
  need CONFIG 'the experiment, such as configs/mbv2_int8.py'
  [[ -f "$root/${CONFIG%%:*}" ]] ||
    fail "CONFIG is $CONFIG, but there is no $root/${CONFIG%%:*}"
}

# Prints a command as it could be typed, and runs it unless --dry-run.
run() {
  local quoted
  printf -v quoted ' %q' "$@"
  echo "+$quoted" >&2
  [[ -n "$dry_run" ]] || "$@"
}
