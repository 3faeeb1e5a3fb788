"""Reading text that a person or a model laid out: labelled sections, and lists of steps."""

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["problem_type", "approach", "steps"]

_TECHNIQUE = r"(?:strategy|approach|technique|method|principle|theorem)"
_LABELS: dict[Part, str] = {
    "problem_type": r"(?:problem|question)[ _-]?(?:type|category|class)|type\sof\s(?:the\s)?problem|category",
    "approach": rf"(?:(?:key|core|main|overall|general|solution|solving|underlying)[ _-])?{_TECHNIQUE}"
    rf"(?:\s?(?:/|,|&|and|or)\s?{_TECHNIQUE}){{0,3}}",
    "steps": r"(?:(?:ordered|procedural|procedure|solution|high[- ]level|key|general|main)[ _-])*"
    r"(?:steps|procedure|plan)|step[- ]by[- ]step\s(?:procedure|plan|guide)",
}
_ORDINAL = r"(?:\d{1,2}|[A-Ha-h]|[ivxIVX]{1,4})"
_LABEL_LINE = re.compile(
    rf"""(?:[^\w(\\]|_)*+                                   # heading, bullet, bold, quote, table bar, emoji
    (?:\\(?:textbf|text|section\*?|subsection\*?)\{{)?     # LaTeX
    (?:(?:part|section)\s)?
    (?:\(?{_ORDINAL}[.):]\)?(?:[^\w(]|_)*+)?                     # "2." or "(b)"
    (?:{"|".join(f"(?P<{part}>{label})" for part, label in _LABELS.items())})
    (?:\s?\([^()]{{0,80}}\))?                              # "Strategy (principle or theorem):"
    (?:[\s*_"'`\}}\]]*+(?:[:：–—=|]|-(?=\s))[\s*_"'`\}}]*+   # a colon, dash or table bar
      |\s?(?:\*\*|__|\}})\s*                               # or the end of bold
      |[\s*_:]*$)                                          # or nothing more on the line
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LABEL_REACH = 200
"""A label ends within so many characters of its line; it bounds the work on absurd lines."""

_LABEL_INSIDE = re.compile(
    r"(?<=[a-z)\]$][a-z)\]$][.;!?])\s+(?=(?:\*\*)?(?:Problem [Tt]ype|Strategy|(?:Procedural )?[Ss]teps)(?:\*\*)?\s?:)"
)
_TAG = re.compile(r"<(/?)(problem_?type|strategy|approach|steps?|procedural_?steps)\s?>", re.IGNORECASE)

_ITEM = re.compile(
    rf"""(?P<indent>[ \t]*)(?:>\s?)?\#*\s?
    (?:(?P<bullet>[-*•+–‣◦▪])\s+)?
    (?P<ordered>(?:\*\*|__)?(?:step\s?(?:\d{{1,2}}|{_ORDINAL})(?:\*\*|__)?\s?(?:[.):–—-]+|$)
      |\(?{_ORDINAL}[.)](?=[\s*_]|$)|\d{{1,2}}\s?(?:\ufe0f?\u20e3|[:–—-]\s))\s?)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_RULE = re.compile(r"\s*(?:[-*_=]\s?){3,}$|\s*\|[\s:|-]*$")
_SEQUENCE = re.compile(r"\s*(?:→|⟶|⇒|->|=>|;)\s*")
_TELLING_ORDER = re.compile(r"(?<=[.;])\s+(?=(?:Then|Next|After|Second|Third|Fourth|Now|Finally|Lastly|Last)\b)")


@dataclass(frozen=True, slots=True)
class Sections:
    """The lines of each labelled part, and how often a problem type was given."""

    lines: dict[Part, list[str]]
    problem_types: int


def find_sections(text: str) -> Sections:
    """Return the labelled parts of `text`; what stands before the first label is left out.

    A part that has its content is not started again ("Method: …" inside the steps is a step), except that the problem
    type begins a strategy: what came before it, such as a title "Strategy: …", only fills parts that never follow.
    """
    found: dict[Part, list[str]] = {}
    before: dict[Part, list[str]] = {}
    problem_types = 0
    current: Part | None = None
    for line in _one_label_per_line(text).splitlines():
        part, rest = _label(line)
        if part == "problem_type":
            if _has_content(found, part):
                problem_types += 1
            else:
                before, found = found, {}
        if part is not None and not _has_content(found, part):
            current = part
            found[part] = [rest]
        elif current is not None:
            found[current].append(line)
    problem_types += _has_content(found, "problem_type")
    for part, lines in found.items():
        if _has_content(found, part):
            before[part] = lines
    return Sections(before, problem_types)


def join_lines(lines: list[str]) -> str:
    """One paragraph without markup."""
    return plain(" ".join(line for line in lines if not _RULE.match(line)))


def plain(text: str) -> str:
    """Text without Markdown emphasis, bullets, quotes around it and repeated spaces."""
    text = re.sub(r"\*\*|__|`", "", text)
    text = " ".join(text.split()).strip('*_|"“” ').removeprefix("- ").removeprefix("> ")
    text = re.sub(r"\\textbf\{([^{}]*)\}", r"\1", text).strip()
    return text.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair cannot be stored


def without_marker(text: str) -> str:
    """Return a step without its "1.", "(b)", "Step 3:" or bullet."""
    match = _ITEM.match(text)
    return plain(text[match.end() :] if match else text)


def list_items(lines: list[str]) -> list[str]:
    """Return the steps of a section, without their markers, in order.

    Items may be numbered, lettered, bulleted or headed; unmarked lines and items nested below a number belong to the
    item above them. A closing remark after a blank line is not a step. Without markers, each line is a step; a single
    line is split at its own numbering, at arrows or semicolons, or where it says "Then" and "Finally".
    """
    items: list[str] = []
    loose: list[str] = []
    remark: list[str] = []
    first: tuple[int, bool] | None = None  # indent and whether numbered, of the first item
    gap = False
    for line in lines:
        if not line.strip() or _RULE.match(line):
            gap = True
            continue
        marker = _ITEM.match(line)
        numbered = bool(marker and marker["ordered"])
        content = line[marker.end() :] if marker else line
        if marker and (numbered or marker["bullet"]):
            first = first or (len(marker["indent"]), numbered)
            if (first[1] and not numbered) or len(marker["indent"]) > first[0] + 2:
                items[-1] += f" {content.strip()}" if items else content
            else:
                if remark and items:
                    items[-1] += " " + " ".join(remark)
                items.append(content.strip())
            remark = []
        elif not items:
            loose.append(content)
        elif line.lstrip().startswith("#"):
            break
        elif (gap and not line.startswith((" ", "\t"))) or remark:
            remark.append(line.strip())
        else:
            items[-1] += f" {line.strip()}"
        gap = False
    if len(items) < 2:
        single = [line.strip() for line in lines if line.strip() and not _RULE.match(line)]
        items = _split_line(single[0]) if len(single) == 1 else items or loose
    return [step for step in map(plain, items) if step]


def _label(line: str) -> tuple[Part | None, str]:
    match = _LABEL_LINE.match(line[:_LABEL_REACH])
    if match is None or (match.end() == _LABEL_REACH and len(line) > _LABEL_REACH):
        return None, line
    part: Part = next(part for part in _LABELS if match[part])
    return part, line[match.end() :].rstrip().removesuffix("|")


def _one_label_per_line(text: str) -> str:
    """Tags, table breaks and labels in mid-line become lines of their own; fences go."""
    text = re.sub(r"<br\s?/?>", "\n", text, flags=re.IGNORECASE)
    text = _TAG.sub(_tag_as_label, text)
    text = re.sub(r"^[ \t]*(?:```|~~~).*$", "", text, flags=re.MULTILINE)
    return _LABEL_INSIDE.sub("\n", text)


def _tag_as_label(tag: re.Match[str]) -> str:
    name = tag[2].lower().replace("_", " ")
    if tag[1]:
        return "\n"
    return "\n- " if name == "step" else f"\n{name.replace('problemtype', 'problem type')}: "


def _has_content(found: dict[Part, list[str]], part: Part) -> bool:
    return any(plain(line) for line in found.get(part, ()))


def _split_line(line: str) -> list[str]:
    """Return the steps within one line."""
    numbered = _split_numbering(line)
    if len(numbered) > 1:
        return numbered
    for separator in (_SEQUENCE, _TELLING_ORDER):
        pieces = [piece for piece in separator.split(line) if piece.strip()]
        if len(pieces) > 1:
            return [without_marker(piece) for piece in pieces]
    return [without_marker(line)]


def _split_numbering(line: str) -> list[str]:
    """Split at 1. 2. 3. or (1) (2) (3) or Step 1: Step 2:, only while the numbers follow each other."""
    starts: list[tuple[int, int]] = []
    position = 0
    while match := re.compile(rf"(?:^|(?<=\s))\(?(?:step\s?)?{len(starts) + 1}[.):]\)?\s", re.I).search(line, position):
        starts.append(match.span())
        position = match.end()
    ends = [*(start for start, _ in starts[1:]), len(line)]
    return [line[begin:end].strip() for (_, begin), end in zip(starts, ends, strict=False)]
