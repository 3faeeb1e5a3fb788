"""Rollouts by vLLM: inside each training process (`engine`), or by servers beside it (`server`).

`process` and `keeper` start servers and end them with their owner, `replica` and `request` talk to one, `weights` and
`worker` bring new weights. Imports vllm only when an engine is opened.
"""
