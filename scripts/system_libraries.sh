#!/bin/sh
# Installs the system libraries that `doctor` finds missing where it may, else says what to type.
# Usage: sh scripts/system_libraries.sh PYTHON
set -eu
python=$1

missing=$("$python" cli.py doctor --system-packages)
if [ -z "$missing" ]; then
  exit 0
fi

as_root=none
if command -v apt-get >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
  fi
fi

if [ "$as_root" != none ]; then
  echo "installing system libraries: $missing"
  # Word splitting is wanted: several packages, and no word where root needs no sudo.
  if $as_root apt-get update -qq && $as_root apt-get install -y -qq $missing &&
    [ -z "$("$python" cli.py doctor --system-packages)" ]; then
    exit 0
  fi
fi

echo "Error: system libraries are missing; type this, then run make again" >&2
"$python" cli.py doctor | sed -n '/^to do:/,$p' >&2
exit 1
