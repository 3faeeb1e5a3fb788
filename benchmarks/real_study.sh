#!/bin/bash
# The study of configs/studies/real.yaml from nothing, on a machine with one GPU, in one command. Cut off at any moment, what is finished
# is in docs/measured/real.jsonl, and the same command goes on.
# Usage: GGUF=SmolLM2-135M-Instruct.Q4_1.gguf [SVAMP=svamp.json] [AT_ONCE=12] [LIMIT=420] [PYTHON=python3] benchmarks/real_study.sh [OUT]
# LIMIT: seconds after which cells are ended and all is packed. OUT gets the results, logs with the seconds of each phase and what
# the card did, and real.tar.gz: the page, metrics, samples, outcomes, answers, traces and logs, no weights.
set -u
cd "$(dirname "$0")/.." || exit
export PYTHON=${PYTHON:-.venv/bin/python} DATA=${DATA:-runs/worlds/real} GGUF SVAMP=${SVAMP:-}
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export PYTHONPATH=.:${PYTHONPATH:-}
export TORCH_COMPILE_DISABLE=1 # many short processes: each would compile for longer than it gains
study=${STUDY:-configs/studies/real.yaml}
results=${RESULTS:-docs/measured/real.jsonl}
runs=${RUNS:-runs/real}
out=${1:-$runs/out}
limit=${LIMIT:-420}
mkdir -p "$out" "$runs"
[ -f "$results" ] || [ ! -f "$runs/results.jsonl" ] || cp "$runs/results.jsonl" "$results"

phase() { # phase NAME COMMAND…: at most the time that is left, its seconds into the log
    local name=$1 began=$SECONDS left=$((limit - SECONDS))
    shift
    [ $left -gt 5 ] || { echo "$name: no time left" | tee -a "$out/phases.log"; return 1; }
    timeout -k 20 $left "$@" 2>&1 | tee -a "$out/study.log" | tail -4
    local code=${PIPESTATUS[0]}
    echo "$name: $((SECONDS - began)) s, exit code $code, $(lines) lines of results, $SECONDS s in all" | tee -a "$out/phases.log"
    return "$code"
}

lines() { if [ -f "$results" ]; then wc -l <"$results"; else echo 0; fi; }

table() { # a table's cells; those that failed once more, as memory may have been short
    local command=("$PYTHON" -m sgpo.cli study "$study" --table "$1" --at-once "${AT_ONCE:-12}")
    phase "$1" "${command[@]}" || phase "$1, again" "${command[@]}"
}

copy() { # beside the runs too: a checkout that is copied anew keeps those
    [ ! -f "$results" ] || { cp "$results" "$out/" && cp "$results" "$runs/results.jsonl"; }
}

pack() {
    # shellcheck disable=SC2086  # the helpers' ids
    kill $helpers 2>/dev/null
    copy
    "$PYTHON" -m sgpo.cli study "$study" --report "$runs/report/real.md" >>"$out/study.log" 2>&1
    tar czf "$out/real.tar.gz" --exclude=model --exclude=checkpoints --exclude=student --exclude=work --exclude=warmup \
        --exclude='*.safetensors' --exclude='mlflow*' --exclude="$out" --ignore-failed-read "$runs" "$DATA" 2>/dev/null
    echo "packed: $SECONDS s in all" | tee -a "$out/phases.log"
}

while sleep 10; do copy; done &
helpers=$!
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv -l 10 >"$out/gpu.csv" 2>/dev/null &
    helpers="$helpers $!"
fi
trap pack EXIT
trap 'exit 143' TERM INT

phase "world: problems and strategies" benchmarks/real_world.sh data || exit
phase "world: student, warm-up, probe, splits" benchmarks/real_world.sh model || exit
table tuning # a method whose trials failed is missing in what follows, the others are not
table main
