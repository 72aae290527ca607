#!/bin/sh
# What grpcurl sends to give a call up: ./cancel.sh "$(jq -r .id request.json)"
cat <<JSON
{"model_name": "alpamayo_cancel", "inputs": [
{"name": "request_id", "datatype": "BYTES", "shape": [1], "contents": {"bytes_contents": ["$(printf %s "$1" | base64 -w 0)"]}}]}
JSON
