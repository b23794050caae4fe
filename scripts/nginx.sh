#!/bin/sh
# Installs Debian's nginx, which a test puts before the page, where it may; else says what to type.
# Usage: sh scripts/nginx.sh
# It lies in /usr/sbin, which is not on every user's path.
PATH="$PATH:/usr/sbin" exec sh "$(dirname "$0")/debian_package.sh" nginx nginx-light
