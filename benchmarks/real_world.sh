#!/bin/sh
# The world of configs/studies/real.yaml: word problems, the recorded strong model's strategies, SmolLM2 converted and warmed up, splits.
# Usage: benchmarks/real_world.sh data      problems and strategies: seconds, on any machine (SVAMP=svamp.json measures on it too)
#        benchmarks/real_world.sh model     the model and what is measured with it; GGUF=SmolLM2-135M-Instruct.Q4_1.gguf
# What is there already is not made again. PYTHON is the interpreter, SETTINGS are further settings of the warm-up.
set -e
data=${DATA:-runs/worlds/real}
params=${PARAMS:-configs/params/real-study.yaml}
recipe=${RECIPE:-configs/studies/real_recipe.yaml}

sgpo() { "${PYTHON:-.venv/bin/python}" -m sgpo.cli "$@"; }

case $1 in
data)
    for split in train tuning held_out; do
        [ -f "$data/problems/$split.parquet" ] || sgpo problems import "data/word_problems/$split.jsonl" --split $split --data "$data"
    done
    [ -z "$SVAMP" ] || [ -f "$data/svamp/problems/held_out.parquet" ] ||
        sgpo problems import "$SVAMP" --split held_out --data "$data/svamp"
    [ -f "$data/strategies.json" ] || {
        sgpo strategies respond --params "$params" --data "$data" --work "$data/work"
        sgpo strategies extract --params "$params" --data "$data" --work "$data/work"
    }
    ;;
model)
    sgpo model convert "$GGUF" --output "$data/student"
    # shellcheck disable=SC2086  # several settings
    sgpo warm-up --model "$data/student" --run "$data/warm-up" --params "$params" --config "$recipe" "data=$data" $SETTINGS
    [ -f "$data/probe.json" ] || sgpo probe --model "$data/warm-up/model" --params "$params" --data "$data" --work "$data/work"
    sgpo split --params "$params" --data "$data"
    ;;
*)
    sed -n '2,5s/^# //p' "$0"
    exit 2
    ;;
esac
