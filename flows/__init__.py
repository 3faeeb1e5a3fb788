"""Prefect flows: when and where things run, and retries. No mathematics and no file formats."""
