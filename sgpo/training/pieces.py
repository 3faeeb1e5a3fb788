"""The text of single tokens, for a person to read."""

from collections.abc import Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Pieces:
    """Texts of tokens by id, decoded once; special tokens are written out."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._known = tokenizer, dict[int, str]()

    def of(self, token: int) -> str:
        """Return the text of one token, with the space that it begins with; a part of a character is shown as such."""
        if token not in self._known:
            text, name = self._decode([token]), self._tokenizer.convert_ids_to_tokens(token)
            # Sentencepiece writes a word's space into its first token, and drops it where a text begins.
            lost = isinstance(name, str) and name.startswith("\N{LOWER ONE EIGHTH BLOCK}") and not text.startswith(" ")
            self._known[token] = f" {text}" if lost else text
        return self._known[token]

    def of_all(self, tokens: Sequence[int]) -> list[str]:
        """Return the texts of tokens that follow one another; a character of several tokens is at its first one."""
        pieces = []
        for broken, run in groupby(tokens, key=lambda token: _BROKEN in self.of(token)):
            ids = list(run)
            pieces += [self._decode(ids), *[""] * (len(ids) - 1)] if broken else [self.of(token) for token in ids]
        return pieces

    def _decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text
