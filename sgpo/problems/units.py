"""Units as answers carry them: split off, brought to one spelling, compared."""

import re

PERCENT = "percent"

_SPELLINGS = {
    "degree": "degrees deg °",
    PERCENT: "percents percentage %",
    "dollar": "dollars usd $",
    "cent": "cents",
    "second": "seconds sec secs s",
    "minute": "minutes min mins",
    "hour": "hours hr hrs h",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "inch": "inches in",
    "foot": "feet ft",
    "yard": "yards yd yds",
    "mile": "miles mi",
    "g": "gram grams",
    "kg": "kilogram kilograms",
    "pound": "pounds lb lbs",
    "liter": "liters litre litres l",
    "ml": "milliliter milliliters millilitre millilitres",
    "radian": "radians rad",
    "unit": "units",
}
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in [unit, *spellings.split()]}
_SCALES = frozenset({"hundred", "thousand", "million", "billion", "trillion", "dozen"})
_JOINING = frozenset({"and", "or", "if", "where", "with", "for", "when"})

_CURRENCY = re.compile(r"^(-?)\s*\\\$\s*")
_DEGREE = re.compile(r"\s*\^\\circ$")
_PERCENT = re.compile(r"\s*\\?%$")
_WORDS = re.compile(r"(?:\s*/?\s*\\text\{[^{}]*\}(?:\^\{?\d\}?)?)+$")
_BARE = re.compile(r"(?<=[\d}\s])(?<!\\)([A-Za-z]{2,}(?:\s*\^\{?[23]\}?)?(?:\s+per\s+[A-Za-z]+|\s*/\s*[A-Za-z]+)?)$")
_POWER_WORDS = {"square": "^2", "sq": "^2", "squared": "^2", "cubic": "^3", "cubed": "^3"}


def canonical_unit(text: str) -> str:
    r"""One spelling per unit: `\text{ inches}^2` and `square inches` are `inch^2`; unknown nouns lose their plural."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text.lower().replace("\\$", "$"))
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?", " degree ", text).replace("\\%", "%")
    if text.strip() != "$":
        text = text.replace("$", "")
    text = re.sub(r"[{}~.\\]", " ", text).replace(" per ", " / ")
    text = re.sub(r"\s*\^\s*", "^", text)
    return "/".join(_canonical_factor(factor) for factor in text.split("/"))


def _canonical_factor(text: str) -> str:
    names: list[str] = []
    power = ""
    for word in text.split():
        if word in _POWER_WORDS:
            power = _POWER_WORDS[word]
            continue
        name, caret, exponent = word.partition("^")
        power = caret + exponent or power
        names.append(_UNIT_OF.get(name) or (name[:-1] if len(name) > 3 and name.endswith("s") else name))
    return " ".join(names) + power


def split_unit(text: str, is_number: bool) -> tuple[str, str | None]:
    r"""(value, canonical unit or None) of a cleaned answer: `5.4 \text{ cents}` -> ("5.4", "cent").

    Words that scale (million) or join (and, if) are no units. A bare word such as in `10 km` is one only where it is
    in the table of units; `is_number` says whether the text is a plain number already, which has none.
    """
    if is_number:
        return text, None
    if found := _CURRENCY.match(text):
        return found[1] + text[found.end() :].strip(), "dollar"
    for pattern, unit in ((_DEGREE, "degree"), (_PERCENT, PERCENT)):
        if (found := pattern.search(text)) and text[: found.start()].strip():
            return text[: found.start()].strip(), unit
    for pattern in (_WORDS, _BARE):
        if (found := pattern.search(text)) and (value := text[: found.start()].strip()):
            unit = canonical_unit(found[0])
            words = set(re.findall(r"[^\W\d]+|[%$]", unit))
            if pattern is _BARE and not words <= _UNIT_OF.keys():
                continue
            if words and not words & (_SCALES | _JOINING):
                return value, unit
    return text, None


def may_stand_for(unit: str, question: str) -> bool:
    """Whether a unit that the gold answer does not state may stand in a response to `question`.

    A noun that is counted (ways, students) may; a unit of measure only where the question names it, so that `10 km`
    does not pass for 10.
    """
    measures = [word for word in re.findall(r"[^\W\d]+|[%$]", unit) if word in _UNIT_OF and word != "unit"]
    asked = {_UNIT_OF[word] for word in re.findall(r"[a-z]+|[%$°]", question.lower()) if word in _UNIT_OF}
    if "\\circ" in question or "angle" in question.lower():
        asked.add("degree")
    if "\\$" not in question and "dollar" not in question.lower():
        asked.discard("dollar")  # an unescaped $ only opens mathematics
    return all(measure in asked for measure in measures)
