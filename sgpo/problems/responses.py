r"""A response's final answer: thinking and whatever follows the response's own turn left out, then the last box.

Nothing is guessed from prose, and every step is linear in the text, whatever a model wrote.
"""

from __future__ import annotations

import re

_THINKING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis", "<|channel|>final"),
)
"""What opens and what closes thinking in the families of models that think; read in any case of letters."""
_CHANNEL = "<|channel|>analysis"
_IN_A_CHANNEL = ("<|end|>", "<|start|>")  # between two channels of one turn these end a message, not the turn
_TURN_ENDS = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>",
    "<eos>", "<|end|>", "<|return|>", "<turn|>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>", "[INST]", "[/INST]",
)  # fmt: skip
_TURN_STARTS = (
    "<|im_start|>", "<|start_header_id|>", "<|header_start|>", "<start_of_turn>", "<|turn>", "<|start|>", "<|user|>",
    "<|assistant|>", "<|system|>", "<|start_of_role|>", "<|START_OF_TURN_TOKEN|>", "<｜User｜>", "<｜Assistant｜>",
    "<｜begin▁of▁sentence｜>",
)  # fmt: skip
_OPENERS = {opener.casefold(): opener for opener, _ in _THINKING}
_CLOSERS = {closer.casefold(): opener for opener, closer in _THINKING}
_MARKERS = re.compile(
    "|".join(re.escape(marker) for marker in (*_TURN_ENDS, *_TURN_STARTS))
    + "|(?i:" + "|".join(re.escape(marker) for marker in (*_OPENERS, *_CLOSERS)) + ")"
)  # fmt: skip
NEW_QUESTION = re.compile(
    r"\n[^\S\n]*\n[ \t*#]{0,8}(?:Question|Problem)(?: \d{1,3})?\*{0,2}:|\n[ \t*#]{0,8}(?:Human|User)\*{0,2}:"
)

_FINAL = re.compile(r"####[^\S\n]*(\S[^\n]*)\s*\Z")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*(\{|-?\d[\d.,/]*|[A-Za-z])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def final_answer(response: str) -> str | None:
    r"""Return what the last box of the response's answer holds, or None where there is none.

    The answer is what follows the last thinking; a response that is still thinking has none. The response ends where
    its turn ends (`<|im_end|>` and the like), and where it goes on to ask a question of its own after a box. A box that
    is opened last and never closed (a truncated response) is no answer either; earlier boxes do not stand in for it.
    """
    text = answer_part(response)
    boxes = _boxes(text)
    first_end = next((end for _, end, _ in boxes if end >= 0), None)
    if first_end is not None and (asked := NEW_QUESTION.search(text, first_end)):
        boxes = _boxes(text[: asked.start()])
    if not boxes or boxes[-1][1] < 0:
        return None
    last_end = boxes[-1][1]
    return next(content for _, end, content in boxes if end >= last_end)  # the outermost around the last


def answer_part(response: str) -> str:
    """Return the text of the response's own turn that is not thinking: after the last thinking that was closed."""
    thinking: str | None = None  # what opened it
    start, end = 0, len(response)
    for found in _MARKERS.finditer(response):
        marker = found[0].casefold()
        if marker in _OPENERS:
            if thinking is None:
                thinking = _OPENERS[marker]
                end = min(end, found.start())
        elif marker in _CLOSERS:
            if thinking in (None, _CLOSERS[marker]):  # <think> is not closed by a </reasoning> that it mentions
                thinking, start, end = None, found.end(), len(response)
        elif thinking == _CHANNEL and found[0] in _IN_A_CHANNEL:
            continue
        elif found[0] in _TURN_ENDS or response[start : found.start()].strip():
            end = min(end, found.start())  # a header that the response begins with is none of its text
            break
    return response[start:end]


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end or -1 where it is never closed, content) of every box that holds something."""
    closing = closing_braces(text)
    boxes: list[tuple[int, int, str]] = []
    for found in _BOX.finditer(text):
        if found[1] != "{":
            boxes.append((found.start(), found.end(), found[1]))
        elif (opened := found.end() - 1) not in closing:
            boxes.append((found.start(), -1, ""))
        elif content := text[opened + 1 : closing[opened]].strip():
            boxes.append((found.start(), closing[opened], content))
    return boxes


def closing_braces(text: str) -> dict[int, int]:
    """Position of every matched opening brace -> position of the brace that closes it."""
    opened: list[int] = []
    closing: dict[int, int] = {}
    for found in _BRACE.finditer(text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            closing[opened.pop()] = found.start()
    return closing


def after_marks(solution: str) -> str | None:
    """Return what follows the last `####`, thousands commas removed: 1,234 -> 1234; None without any."""
    *_, line = ("", *solution.rstrip().splitlines())
    found = _FINAL.search(line)
    return _THOUSANDS.sub("", found[1].strip()) if found else None


def is_marker(token: str) -> bool:
    """Whether a token's text is one that the judge reads: it opens or closes thinking, or ends or starts a turn."""
    return _MARKERS.fullmatch(token) is not None


def thinking_opened_by(prompt: str) -> tuple[str, str] | None:
    """Return what opens and what closes the thinking that a prompt ends with, or None where it ends otherwise."""
    end = prompt.rstrip().casefold()
    return next((pair for pair in _THINKING if end.endswith(pair[0].casefold())), None)
