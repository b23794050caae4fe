#!/bin/sh
# Installs a package of Debian where it may and its command is not there yet; else says what to type.
# Usage: sh scripts/debian_package.sh COMMAND PACKAGE
set -eu
command=$1
package=$2

if command -v "$command" >/dev/null 2>&1; then
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
  echo "installing $package"
  # Word splitting is wanted: no word where root needs no sudo.
  if $as_root apt-get update -qq && $as_root apt-get install -y -qq "$package" &&
    command -v "$command" >/dev/null 2>&1; then
    exit 0
  fi
fi

echo "Error: $command is missing and could not be installed; type: sudo apt-get install $package" >&2
exit 1
