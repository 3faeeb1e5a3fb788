"""Prefect flows: when, where and again. No mathematics, no file formats."""
