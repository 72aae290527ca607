#!/bin/sh
# Asks over HTTP with nothing but curl, and prints the answer's JSON, or the server's words and exit code 22.
#   ./ask.sh localhost:8000 ../scene '{"seed": 5, "deadline_ms": 2000}' | jq '.outputs[] | {name, data: .data[:6]}'
set -e
address=$1 scene=$2 parameters=${3:-'{}'}
id=$(cat /proc/sys/kernel/random/uuid)
body=$(mktemp)
trap 'rm -f "$body"' EXIT

byte() { printf "\\$(printf %03o $(($1 & 255)))"; }

set -- "$scene"/camera*/*.jpg
[ -f "$1" ] || { echo "$scene: wanted folders camera*, each with as many files *.jpg" >&2; exit 1; }

# The frames, each with its length in front: 4 bytes, the lowest first.
for frame in "$scene"/camera*/*.jpg; do
  n=$(($(wc -c <"$frame")))
  byte $n && byte $((n >> 8)) && byte $((n >> 16)) && byte $((n >> 24))
  cat "$frame"
done >"$body"

set -- "$scene"/camera*
cameras=$#
set -- "$1"/*.jpg
header=$(cat <<JSON
{"id": "$id", "parameters": $parameters, "inputs": [
{"name": "ego_history_xyz", "datatype": "FP32", "shape": [16, 3], "data": $(cat "$scene/ego_history_xyz.json")},
{"name": "ego_history_rot", "datatype": "FP32", "shape": [16, 3, 3], "data": $(cat "$scene/ego_history_rot.json")},
{"name": "encoded_frames", "datatype": "BYTES", "shape": [$cameras, $#],
 "parameters": {"binary_data_size": $(($(wc -c <"$body")))}}]}
JSON
)

# Who only hangs up lets the server go on: tell it.
given_up() {
  kill $!
  curl -sS -m 5 "http://$address/v2/models/alpamayo_cancel/infer" -H "Content-Type: application/json" -d \
    "{\"inputs\": [{\"name\": \"request_id\", \"datatype\": \"BYTES\", \"shape\": [1], \"data\": [\"$id\"]}]}" >&2
  exit 130
}
trap given_up INT

printf %s "$header" | cat - "$body" | curl -sS --fail-with-body "http://$address/v2/models/alpamayo/infer" \
  -H "Content-Type: application/octet-stream" -H "Inference-Header-Content-Length: ${#header}" --data-binary @- &
wait $!
