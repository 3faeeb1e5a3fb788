"""Greedy tokens of a vLLM engine that was just started on a folder: FOLDER PROMPTS.json TOKENS ANSWERS.json

In a process of its own, because vLLM keeps one engine's state in globals: closing a second one breaks the first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.rollouts.frozen import open_frozen

if __name__ == "__main__":
    folder, prompts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    sampling = SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=int(sys.argv[3]))
    with open_frozen(folder, EngineConfig(kind="vllm"), "float32", 256, folder) as (engine, _):
        responses = engine.generate(prompts, sampling, [0] * len(prompts))
    Path(sys.argv[4]).write_text(json.dumps([response.token_ids for response in responses]), encoding="utf-8")
