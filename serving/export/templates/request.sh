#!/bin/sh
# One prediction over REST: sh request.sh [HOST:PORT] [stable|canary]
# request.json holds the inputs in columns; the streams it does not use are filled with one zero
# sample, one blank frame or an empty text, which the model reads as missing.
set -eu
cd "$(dirname "$0")"
address=${1:-127.0.0.1:8501}
label=${2:+/labels/$2}
curl --fail-with-body --silent --show-error \
  --header "Content-Type: application/json" \
  --data-binary @request.json \
  "http://$address/v1/models/@NAME@$label:predict"
