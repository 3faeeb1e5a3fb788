#!/bin/sh
# The worlds of configs/studies/testbed.yaml: problems, the package's base models, the scripted strong model's answers and strategies,
# splits. Usage: benchmarks/worlds.sh 3 6; with `6w`, after 6: the same world with a third of its problems for the warm-up. Worlds of
# other numbers of decisions pre-train their base models, minutes each: FAMILIES=qwen2 benchmarks/worlds.sh 2 4 5 makes one shape only.
set -e
sgpo=".venv/bin/sgpo"
for decisions in "$@"; do
    data=runs/worlds/d$decisions
    if [ "${decisions%w}" != "$decisions" ]; then
        rm -rf "$data"
        cp -r "${data%w}" "$data"
        printf "splits: {warmup_fraction: 0.33}\n" >> "$data/params.yaml"
        "$sgpo" split --params "$data/params.yaml" --data "$data"
        continue
    fi
    params=$data/params.yaml
    mkdir -p "$data"
    for family in ${FAMILIES:-llama qwen2}; do
        base="family: $family"
        # Llama's shape needs longer to carry six decisions out; the package's was made so.
        [ "$family-$decisions" = llama-6 ] && base="$base, steps: 2800"
        printf "world: {decisions: %s}\nbase_model: {%s}\nprobe: {sampling: {max_new_tokens: 128}}\n" "$decisions" "$base" > "$params"
        "$sgpo" world base-model --params "$params" --data "$data" --work "$data/work"
    done
    "$sgpo" world problems --params "$params" --data "$data"
    "$sgpo" strategies respond --params "$params" --data "$data" --work "$data/work"
    "$sgpo" strategies extract --params "$params" --data "$data" --work "$data/work"
    "$sgpo" probe --model "$data/base/qwen2" --params "$params" --data "$data" --work "$data/work"
    "$sgpo" split --params "$params" --data "$data"
done
