"""Talking to the strong model: the protocol, any OpenAI-like endpoint, and the prompts.

`teacher` is the protocol, `openai_teacher` the client, `journal` answers what was answered before, `spending` keeps to
the budget, `concurrency` sends many requests at a time, `templates` reads the versioned prompts in `prompts/`.
A prompt that has been used is never changed: a new wording is a new folder.
"""
