#!/bin/sh
# Installs Debian's chromium, which the tests of the page drive, where it may; else says what to type.
# Usage: sh scripts/chromium.sh
set -eu

if command -v chromium >/dev/null 2>&1; then
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
  echo "installing chromium"
  # Word splitting is wanted: no word where root needs no sudo.
  if $as_root apt-get update -qq && $as_root apt-get install -y -qq chromium &&
    command -v chromium >/dev/null 2>&1; then
    exit 0
  fi
fi

echo "Error: chromium is missing and could not be installed; type: sudo apt-get install chromium" >&2
exit 1
