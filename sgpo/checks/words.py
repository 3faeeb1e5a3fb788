"""The words: whether the student's tokenizer knows those of questions, strategies and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from sgpo.checks.finding import Finding, Verdict, refusal
from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.problems import Problem
from sgpo.problems.table import read_table
from sgpo.strategies.schema import StrongResponse
from sgpo.training.inputs import reads_responses

TEXTS = 1000
"""Texts of a kind that are looked at, evenly spaced."""
SHARE = 0.01
"""Above this share of a kind's tokens, unknown ones are told."""


def check_words(
    config: RunConfig, tokenizer: PreTrainedTokenizerBase, strategies: Mapping[str, str],
    splits: Mapping[str, Sequence[Problem]],
) -> list[Finding]:  # fmt: skip
    """Return a finding for each kind of text with more than SHARE of unknown tokens.

    A tokenizer without an unknown token, such as one by bytes, knows every text: nothing is said of it.
    """
    if tokenizer.unk_token_id is None:
        return []
    found = [
        *(_unknown(tokenizer, "data", f"words of {split}", [problem.question for problem in problems], "warning",
                   "questions in words that the student knows, or a student whose tokenizer knows them")
          for split, problems in splits.items()),
        _unknown(tokenizer, "strategies", "words", list(strategies.values()), "warning",
                 "a teacher (or a wording of its prompts) with the student's words, or another student"),
    ]  # fmt: skip
    file = config.data / "responses.parquet"
    if reads_responses(config) and file.is_file():
        try:
            responses = [row.text for row in read_table(file, StrongResponse)]
        except UserError as error:
            return [*_told(found), refusal("data", "responses", error)]
        found.append(
            _unknown(
                tokenizer, "data", "words of responses", responses, "wrong",
                "a strong model that answers in the student's words, a student whose tokenizer knows them, or a method "
                "that reads no responses: this one would learn to write the unknown mark",
            )
        )  # fmt: skip
    return _told(found)


def _told(found: Sequence[Finding | None]) -> list[Finding]:
    return [finding for finding in found if finding is not None]


def _unknown(
    tokenizer: PreTrainedTokenizerBase, group: str, what: str, texts: Sequence[str], verdict: Verdict, cure: str
) -> Finding | None:
    """Return what is unknown of some texts, with the first such word."""
    mark, tokens, unknown, example = tokenizer.unk_token_id, 0, 0, ""
    for text in texts[:: max(1, len(texts) // TEXTS)]:
        pieces = tokenizer(text, add_special_tokens=False, return_offsets_mapping=bool(tokenizer.is_fast))
        ids: list[Any] = pieces["input_ids"]  # pyright: ignore[reportAssignmentType]
        tokens, unknown = tokens + len(ids), unknown + ids.count(mark)
        if not example and mark in ids:
            start, end = pieces["offset_mapping"][ids.index(mark)] if tokenizer.is_fast else (0, 24)
            example = text[start:end].strip()
    if unknown <= SHARE * tokens:
        return None
    found = f"{unknown / tokens:.1%} of their tokens are '{tokenizer.unk_token}' to the student, such as '{example}'"
    return Finding(group, what, verdict, found, cure)
