"""One prompt before all of its responses: how rows of a micro-batch share lines, and what that costs.

A group's rows in one context have one prompt. A line of the batch holds `prompt, response, response, ...`, and perhaps
another prompt with its responses where the line has room: a response sees its own prompt and itself, and its positions
follow the prompt's. The hidden states are those of the plain rows; the prompt is computed once.
"""

import heapq
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask

from sgpo.training.batches import RowT, TokenBatch
from sgpo.training.masks import BLOCK, block_mask, token_mask

PADDING = 0.04
"""Largest fraction of a shared micro-batch that is padding."""


@dataclass(frozen=True, slots=True)
class _Family:
    """Rows with one prompt, next to one another in the micro-batch; `first` is the first one's place there."""

    first: int
    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.responses))


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """A prompt is computed once for the responses that follow it; short families share a line.

    Every token is compared with all of its line, at `even_length` tokens of which that costs as much as the layers'
    matrices: a line is as long as makes the whole cheapest.
    """

    even_length: float

    def split(self, rows: Sequence[RowT], tokens: int) -> list[list[RowT]]:
        """Return families of like length together; one that is too long is cut, and its prompt computed again."""
        by_prompt = _by_prompt(rows)
        families = [
            part for prompt, family in by_prompt.items() for part in _cut(family, min(tokens, self._longest(prompt)))
        ]
        families.sort(key=lambda family: (-_length(family), family[0].index))
        groups: list[list[RowT]] = []
        members = longest = used = 0  # families of the last group, the longest of their lengths and the sum
        cut = False  # whether one of them is a part, which another part may join
        for family in families:
            part = len(family) < len(by_prompt[family[0].prompt])
            # A line for each family is the most that is computed, so that lines seldom need be laid out.
            lines = (members + 1) * longest
            little = lines - used - _length(family) <= PADDING * lines
            fits = bool(groups) and not (cut or part) and lines <= tokens and little
            if groups and not fits:
                computed, padding = self.size([*groups[-1], *family])
                fits = computed <= tokens and padding <= PADDING * computed
            if fits:
                groups[-1].extend(family)
                members, used, cut = members + 1, used + _length(family), cut or part
            else:
                groups.append(list(family))
                members, longest, used, cut = 1, _length(family), _length(family), part
        return groups

    def size(self, rows: Sequence[RowT]) -> tuple[int, int]:
        """Return lines times the longest one, and what of it is padding."""
        families = self._families(rows)
        lines = self._lines(families)
        computed = len(lines) * self._width(lines, families)
        return computed, computed - sum(map(len, families))

    def batch(self, rows: Sequence[RowT], pad_id: int, device: torch.device) -> TokenBatch[RowT]:
        """Lay families out line by line; the mask is over tokens, [B, 1, T, T], and true where one sees another."""
        families = self._families(rows)
        lines = self._lines(families)
        shape = len(lines), self._width(lines, families)
        tokens, positions = np.full(shape, pad_id), np.zeros(shape, np.int64)
        # Which family a token is of, and which of its responses: 0 is the prompt. Padding sees padding.
        family_of, part_of = np.full(shape, -1), np.zeros(shape, np.int64)
        line_of, columns = np.zeros(len(rows), np.int64), [np.zeros(0, np.int64) for _ in rows]
        for line, members in enumerate(lines):
            start = 0
            for number in members:
                family = families[number]
                prompt_end = end = start + len(family.prompt)
                tokens[line, start:end], positions[line, start:end] = family.prompt, np.arange(len(family.prompt))
                for part, response in enumerate(family.responses, 1):
                    begin, end = end, end + len(response)
                    tokens[line, begin:end] = response
                    positions[line, begin:end] = np.arange(len(family.prompt), len(family.prompt) + len(response))
                    part_of[line, begin:end] = part
                    row = family.first + part - 1
                    line_of[row], columns[row] = line, np.array([prompt_end - 1, *range(begin, end - 1)])
                family_of[line, start:end] = number
                start = end
        lengths = np.array([len(row.response) for row in rows])

        def on_device(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(device)

        return TokenBatch(
            rows=tuple(rows),
            input_ids_BT=on_device(tokens),
            attention_mask_BT=self._mask(on_device(family_of), on_device(part_of)),
            row_index_N=on_device(line_of.repeat(lengths)),
            column_index_N=on_device(np.concatenate(columns)),
            targets_N=on_device(np.concatenate([row.response for row in rows])),
            mask_BR=on_device(np.arange(lengths.max()) < lengths[:, None]),
            position_ids_BT=on_device(positions),
        )

    def _families(self, rows: Sequence[RowT]) -> list[_Family]:
        """Return rows with one prompt together, as many as pay."""
        families: list[_Family] = []
        first = 0
        for prompt, members in groupby(rows, key=lambda row: row.prompt):
            for part in _cut(list(members), self._longest(prompt)):
                families.append(_Family(first, prompt, tuple(row.response for row in part)))
                first += len(part)
        return families

    def _longest(self, prompt: Sequence[int]) -> int:
        """Return how long a prompt with its responses may be: more would cost more than they save of the prompt.

        m responses of r tokens after a prompt of p cost (p + mr)(1 + (p + mr) / e) / m each, e the even length: the
        least where mr = sqrt(p(p + e)).
        """
        return int(len(prompt) + math.sqrt(len(prompt) * (len(prompt) + self.even_length)))

    def _lines(self, families: Sequence[_Family]) -> list[list[int]]:
        """Return the families of each line, by their number: few lines have little padding, and more to compare.

        Each family goes to the shortest line, the longest family first.
        """
        order = sorted(range(len(families)), key=lambda number: -len(families[number]))
        longest, used = len(families[order[0]]), sum(map(len, families))
        best, least = [[number] for number in order], self._cost(len(order), longest)
        for count in range(len(families) - 1, 0, -1):
            if self._cost(1, used / count) * count >= least:
                break  # not even without padding: fewer lines are longer
            lines: list[list[int]] = [[] for _ in range(count)]
            filled = [(0, line) for line in range(count)]
            for number in order:
                length, line = heapq.heappop(filled)
                lines[line].append(number)
                heapq.heappush(filled, (length + len(families[number]), line))
            cost = self._cost(count, max(filled)[0])
            if cost < least:
                best, least = lines, cost
        return best

    def _width(self, lines: Sequence[Sequence[int]], families: Sequence[_Family]) -> int:
        """Return the length of every line, padding included."""
        return max(sum(len(families[number]) for number in line) for line in lines)

    def _mask(self, family_BT: torch.Tensor, part_BT: torch.Tensor) -> torch.Tensor | BlockMask:
        """Return which token sees which, [B, 1, T, T], as the attention that reads it wants it."""
        return token_mask(family_BT, part_BT)

    def _cost(self, lines: int, width: float) -> float:
        """Return what lines of this width cost, in tokens whose comparisons are free."""
        return lines * width * (1.0 + width / self.even_length)


@dataclass(frozen=True, slots=True)
class OneLine(SharedPrompts):
    """All families of a micro-batch behind one another, for attention that skips blocks in which nothing is seen.

    A line costs no more for being long, and only its last block has padding.
    """

    even_length: float = math.inf

    def split(self, rows: Sequence[RowT], tokens: int) -> list[list[RowT]]:
        """Return micro-batches of about the same length; a family of more than `tokens` is cut, as is `tokens`."""
        room = tokens // BLOCK * BLOCK or tokens
        families = [part for family in _by_prompt(rows).values() for part in _cut(family, room)]
        families.sort(key=lambda family: (-_length(family), family[0].index))
        groups: list[list[RowT]] = [[] for _ in range(math.ceil(sum(map(_length, families)) / room))]
        filled = [(0, number) for number in range(len(groups))]
        for family in families:
            length, number = heapq.heappop(filled)
            if groups[number] and length + _length(family) > room:
                heapq.heappush(filled, (length, number))
                length, number = 0, len(groups)
                groups.append([])
            groups[number].extend(family)
            heapq.heappush(filled, (length + _length(family), number))
        return [group for group in groups if group]

    def _longest(self, prompt: Sequence[int]) -> int:
        return sys.maxsize

    def _lines(self, families: Sequence[_Family]) -> list[list[int]]:
        return [list(range(len(families)))]

    def _width(self, lines: Sequence[Sequence[int]], families: Sequence[_Family]) -> int:
        return math.ceil(sum(map(len, families)) / BLOCK) * BLOCK

    def _mask(self, family_BT: torch.Tensor, part_BT: torch.Tensor) -> BlockMask:
        return block_mask(family_BT, part_BT)


def _by_prompt(rows: Sequence[RowT]) -> dict[tuple[int, ...], list[RowT]]:
    by_prompt: dict[tuple[int, ...], list[RowT]] = {}
    for row in sorted(rows, key=lambda row: row.index):
        by_prompt.setdefault(row.prompt, []).append(row)
    return by_prompt


def _length(family: Sequence[RowT]) -> int:
    return len(family[0].prompt) + sum(len(row.response) for row in family)


def _cut(family: Sequence[RowT], tokens: int) -> list[list[RowT]]:
    """Return the family in parts of at most `tokens`, prompt included; a single row may be longer."""
    parts: list[list[RowT]] = []
    for row in family:
        if parts and _length(parts[-1]) + len(row.response) <= tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts
