#!/bin/sh
# An answer that grpcurl printed, on stdin, as the first thought and the first trajectory: needs jq.
set -e
answer=$(cat)

# A tensor's bytes. The outputs come in any order; newer versions of grpcurl write rawOutputContents.
tensor() {
  printf %s "$answer" | jq -r --arg name "$1" \
    '(.outputs | map(.name) | index($name)) as $i | (.raw_output_contents // .rawOutputContents)[$i]' | base64 -d
}

length=$(tensor cot | od -A n -t u4 -N 4 | tr -d ' ')  # text has its length in front
printf 'thought: %s\n' "$(tensor cot | tail -c +5 | head -c "$length" | jq -R -s -a .)"
printf 'seed: %s\n' "$(tensor seed | od -A n -t d8 | tr -d ' ')"
tensor pred_xyz | od -A n -v -t f4 -w12 | head -n 64 |
  LC_ALL=C awk '{ printf "%.1f s: %.3f m ahead, %.3f m to the left\n", NR / 10, $1, $2 }'
