"""Answers of several members: lists, tuples, intervals, sets, matrices."""

import random

from answer_families.made import Made, digit_changed, drawn_members, negated


def several(draw: random.Random) -> Made:
    """Several answers, in any order."""
    members = drawn_members(draw)
    texts = [str(member) for member in members]
    changed = [*texts[:-1], digit_changed(draw, texts[-1])]
    signed = [negated(texts[0]) or "", *texts[1:]]
    new = next(str(number) for number in range(41, 60))
    return Made(
        ", ".join(texts),
        {
            "order": ", ".join(reversed(texts)),
            "and": f"{', '.join(texts[:-1])} \\text{{ and }} {texts[-1]}",
            "named": ", ".join(f"x = {text}" for text in texts),
            "no blanks": ",".join(texts),
            "spaced by TeX": ",\\; ".join(texts),
            "semicolons": "; ".join(texts),
            "fractions": ", ".join(f"\\frac{{{2 * member}}}{{2}}" for member in members),
        },
        {
            "a member missing": ", ".join(texts[:-1]),
            "a member more": ", ".join([*texts, new]),
            "one digit": ", ".join(changed) if sorted(changed) != sorted(texts) else None,
            "sign": ", ".join(signed) if sorted(signed) != sorted(texts) else None,
            "a member twice for another": ", ".join([*texts[:-1], texts[0]]),
            "commas lost": " ".join(texts),
            "joined": "".join(text.lstrip("-") for text in texts),
            "a pair": f"({', '.join(texts)})",
        },
        {"multiple": True},
    )


def pair(draw: random.Random) -> Made:
    """Tuples: points in two to four coordinates."""
    members = drawn_members(draw)
    texts = [str(member) for member in members]
    signed = [negated(texts[0]) or "", *texts[1:]]
    return Made(
        f"({', '.join(texts)})",
        {
            "no blanks": f"({','.join(texts)})",
            "tall brackets": f"\\left({', '.join(texts)}\\right)",
            "fractions": f"({', '.join(f'{2 * member}/2' for member in members)})",
            "decimals": f"({', '.join(f'{text}.0' for text in texts)})",
            "spaced by TeX": "\\left( " + ",\\, ".join(texts) + " \\right)",
        },
        {
            "order": f"({', '.join(reversed(texts))})",
            "sign": f"({', '.join(signed)})",
            "a member missing": f"({', '.join(texts[:-1])})",
            "a member more": f"({', '.join([*texts, '7'])})",
            "one digit": f"({', '.join([*texts[:-1], digit_changed(draw, texts[-1])])})",
            "another bracket": f"[{', '.join(texts)}]",
            "a set": f"\\{{{', '.join(texts)}\\}}",
            "commas lost": f"({' '.join(texts)})",
        },
    )


def interval(draw: random.Random) -> Made:
    """Intervals, bounded and not."""
    low, high = sorted(draw.sample(range(-30, 31), 2))
    left, right = draw.choice("(["), draw.choice(")]")
    end = draw.choice([str(high), "\\infty"])
    right = ")" if end == "\\infty" else right
    other = {"(": "[", "[": "(", ")": "]", "]": ")"}
    return Made(
        f"{left}{low}, {end}{right}",
        {
            "no blanks": f"{left}{low},{end}{right}",
            "tall brackets": f"\\left{left}{low}, {end}\\right{right}",
            "named": f"x \\in {left}{low}, {end}{right}",
            "fractions": f"{left}\\frac{{{2 * low}}}{{2}}, {end}{right}",
        },
        {
            "another bracket": f"{other[left]}{low}, {end}{right}",
            "another closing bracket": f"{left}{low}, {end}{other[right]}" if end != "\\infty" else None,
            "one end": f"{left}{low - 1}, {end}{right}",
            "order": f"{left}{end}, {low}{right}",
            "sign": f"{left}{-low}, {end}{right}" if low else None,
            "a member missing": f"{left}{low}{right}",
            "both ends open to infinity": f"(-\\infty, {end}{right}" if end != "\\infty" else "(-\\infty, \\infty)",
        },
    )


def a_set(draw: random.Random) -> Made:
    """Sets in braces."""
    texts = [str(member) for member in drawn_members(draw)]

    def braces(members: list[str]) -> str:
        return f"\\{{{', '.join(members)}\\}}"

    signed = [negated(texts[0]) or "", *texts[1:]]
    return Made(
        braces(texts),
        {
            "order": braces(texts[::-1]),
            "tall brackets": f"\\left\\{{{', '.join(texts)}\\right\\}}",
            "no blanks": f"\\{{{','.join(texts)}\\}}",
        },
        {
            "a member missing": braces(texts[:-1]),
            "a member more": braces([*texts, "77"]),
            "sign": braces(signed) if sorted(signed) != sorted(texts) else None,
            "a pair": f"({', '.join(texts)})",
            "commas lost": f"\\{{{' '.join(texts)}\\}}",
        },
    )


def matrix(draw: random.Random) -> Made:
    """Two by two matrices that are no mirror images of themselves."""
    one, two, three, four = draw.sample(range(-9, 10), 4)

    def rows(a: int, b: int, c: int, d: int, kind: str = "pmatrix", gap: str = " ") -> str:
        return f"\\begin{{{kind}}}{gap}{a} & {b} \\\\ {c} & {d}{gap}\\end{{{kind}}}"

    return Made(
        rows(one, two, three, four),
        {
            "no blanks": rows(one, two, three, four, gap="").replace(" ", ""),
            "square brackets": rows(one, two, three, four, "bmatrix"),
        },
        {
            "transposed": rows(one, three, two, four),
            "order": rows(four, three, two, one),
            "one digit": rows(one, two, three, four + 1),
            "sign": rows(-one, two, three, four) if one else None,
            "a member missing": f"\\begin{{pmatrix}} {one} & {two} \\end{{pmatrix}}",
        },
    )
