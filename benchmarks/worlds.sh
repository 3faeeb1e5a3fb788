#!/bin/sh
# The worlds of the study: problems, the scripted strong model's strategies and responses, splits. Usage: benchmarks/worlds.sh [DECISIONS ...]
set -e
for decisions in "${@:-3 6}"; do
    for number in $decisions; do
        data=runs/worlds/d$number
        mkdir -p "$data"
        printf 'world: {decisions: %s}\n' "$number" > "$data/params.yaml"
        .venv/bin/sgpo world problems --params "$data/params.yaml" --data "$data"
        .venv/bin/sgpo strategies extract --params "$data/params.yaml" --data "$data" --work "$data/work"
        .venv/bin/sgpo split --params "$data/params.yaml" --data "$data"
    done
done
