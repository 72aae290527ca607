#!/bin/sh
# A scene as the JSON that grpcurl takes: ./request.sh ../scene '{"seed": {"int64_param": 5}}' > request.json
# Of a parameter's value the type has to be said: int64_param, double_param (temperature, top_p).
set -e
scene=$1 parameters=${2:-'{}'}

numbers() { tr -d '[] \n' <"$scene/$1.json"; }  # nested lists to a flat one
files() { for frame in "$scene"/camera*/*.jpg; do printf '%s"%s"' "$comma" "$(base64 -w 0 "$frame")" && comma=,; done; }

set -- "$scene"/camera*
cameras=$#
set -- "$1"/*.jpg
[ -f "$1" ] || { echo "$scene: wanted folders camera*, each with as many files *.jpg" >&2; exit 1; }
cat <<JSON
{"model_name": "alpamayo", "id": "$(cat /proc/sys/kernel/random/uuid)", "parameters": $parameters, "inputs": [
{"name": "ego_history_xyz", "datatype": "FP32", "shape": [16, 3], "contents": {"fp32_contents": [$(numbers ego_history_xyz)]}},
{"name": "ego_history_rot", "datatype": "FP32", "shape": [16, 3, 3], "contents": {"fp32_contents": [$(numbers ego_history_rot)]}},
{"name": "encoded_frames", "datatype": "BYTES", "shape": [$cameras, $#], "contents": {"bytes_contents": [$(files)]}}]}
JSON
