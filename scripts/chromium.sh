#!/bin/sh
# Installs Debian's chromium, which the tests of the page drive, where it may; else says what to type.
# Usage: sh scripts/chromium.sh
exec sh "$(dirname "$0")/debian_package.sh" chromium chromium
