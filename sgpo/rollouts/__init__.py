"""From prompts to sampled responses.

`engine` is the protocol, `transformers_engine` and `vllm/` implement it, `frozen` opens an engine for evaluation.
`groups` draws and verifies both groups of each problem, `chat` writes their prompts. `seeds` makes a rollout a function
of weights, prompt and seed alone, which must stay so. `schema` has the records that other folders use.
"""
