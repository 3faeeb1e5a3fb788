"""Talking to the strong model: the protocol, any OpenAI-like endpoint, and what is asked in which words.

`teacher` is the protocol, `openai_teacher` the client, `journal` answers again what was answered once, `spending`
keeps to the budget, `concurrency` asks many at a time, `templates` reads the versioned wording in `prompts/`.
A wording that was used is never changed: a new one is a new folder.
"""
