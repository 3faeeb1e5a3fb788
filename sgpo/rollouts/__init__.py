"""Prompts to sampled responses.

`engine` is the protocol, `transformers_engine` and `vllm/` answer it, `frozen` opens one for evaluation; `groups` draws
and verifies both groups of each problem, `prompts` words them, `seeds` makes a rollout a function of weights, prompt
and seed: that must stay so. `schema` has the records that the other rooms take.
"""
