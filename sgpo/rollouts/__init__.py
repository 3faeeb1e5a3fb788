"""Prompts to sampled responses: the engine protocol, its engines, prompts, seeds and records."""
