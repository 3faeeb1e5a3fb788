"""What a strategy must not give away: the answer, in any form, and results of intermediate steps.

`leak` runs all checks; `stated_answers`, `stated_results` and `wording` are the checks, `quantities` and `equivalents`
read numbers. A check may refuse too much, but never pass an answer: tests/strategies/leaks.jsonl has labelled cases.
"""
