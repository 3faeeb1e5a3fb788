#!/bin/sh
# Worlds of configs/studies/testbed.yaml's table `bases`: the demo's problems with base models of other pre-training seeds, minutes
# each. Usage, after `benchmarks/worlds.sh 3`: benchmarks/bases.sh 1 2 3 4
set -e
for seed in "$@"; do
    data=runs/worlds/d3s$seed
    mkdir -p "$data"
    cp -r runs/worlds/d3/problems runs/worlds/d3/splits runs/worlds/d3/*.parquet "$data"
    printf "world: {decisions: 3}\nbase_model: {family: qwen2, seed: %s}\n" "$seed" > "$data/params.yaml"
    .venv/bin/sgpo world base-model --params "$data/params.yaml" --data "$data" --work "$data/work"
done
