"""Units as answers carry them: split off, brought to one spelling, compared."""

import re

PERCENT = "percent"

_SPELLINGS = {
    "degree": "degrees deg °",
    PERCENT: "percents percentage %",
    "dollar": "dollars usd $",
    "euro": "euros eur €",
    "yen": "¥",
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
    "pound": "pounds lb lbs £",
    "liter": "liters litre litres l",
    "ml": "milliliter milliliters millilitre millilitres",
    "radian": "radians rad",
    "unit": "units",
}
_UNIT_OF = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in [unit, *spellings.split()]}
_SCALES = frozenset({"hundred", "thousand", "million", "billion", "trillion", "dozen"})
_JOINING = frozenset({"and", "or", "if", "where", "with", "for", "when"})

_CURRENCY = re.compile(r"^(-?)\s*(\\\$|[€£¥])\s*")
_COMPOUND = {"mph": " mile / hour ", "kph": " km / hour ", "kmh": " km / hour "}
_COMPOUND_WORDS = re.compile(r"(?<![a-z])(?:" + "|".join(_COMPOUND) + r")(?![a-z])")
_TIMES = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})
_COUNTERS = frozenset(
    ["个", "只", "条", "人", "种", "次", "本", "张", "名", "位", "件", "块", "颗", "匹", "枚", "個", "冊", "回", "通り"]
)
"""Chinese and Japanese words that are counted with, as `12 个`."""
_COUNTED = re.compile(r"(?<=[\d}])\s*([\u3040-\u30ff\u4e00-\u9fff]{1,4})$")
_PRICE = re.compile(r"(?<![^\s(])\$\d[\d,.]*(?=\s|[?!,;:)-]|$)")
_DEGREE = re.compile(r"\s*\^\\circ$")
_PERCENT = re.compile(r"\s*\\?%$")
_WORDS = re.compile(r"(?:\s*(?:/\s*)?\\text\{[^{}]*\}(?:\^\{?\d\}?)?)+$")
_BARE = re.compile(r"(?<=[\d}\s])(?<!\\)([A-Za-z]{2,}(?:\s*\^\{?[23]\}?)?(?:\s+per\s+[A-Za-z]+|\s*/\s*[A-Za-z]+)?)$")
_LETTER = re.compile(r"(.*[\d}])\s*(?:\\mathrm\s*\{)?\s*([A-Za-z])\s*\}?")
_POWER_WORDS = {"square": "^2", "sq": "^2", "squared": "^2", "cubic": "^3", "cubed": "^3"}


def canonical_unit(text: str) -> str:
    r"""One spelling per unit: `\text{ inches}^2` and `square inches` are `inch^2`; unknown nouns lose their plural."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text.lower().replace("\\$", "$"))
    text = _COMPOUND_WORDS.sub(lambda found: _COMPOUND[found[0]], text)
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


def split_unit(text: str, is_number: bool, expected: str | None = None) -> tuple[str, str | None]:
    r"""(value, canonical unit or None) of a cleaned answer: `5.4 \text{ cents}` -> ("5.4", "cent").

    Words that scale (million) or join (and, if) are no units. A bare word such as in `10 km` is one only where it is
    in the table of units; `is_number` says whether the text is a plain number already, which has none. A single letter
    may be a variable: `9 m` has a unit where metres are `expected`.
    """
    if is_number:
        return text, None
    if found := _CURRENCY.match(text):
        return found[1] + text[found.end() :].strip(), _UNIT_OF[found[2].lstrip("\\")]
    if (found := _COUNTED.search(text)) and (value := text[: found.start()].strip()):
        return value, found[1]
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
    if (found := _LETTER.fullmatch(text)) and expected and _UNIT_OF.get(found[2].lower()) == expected:
        return found[1], expected
    return text, None


def may_stand_for(unit: str, question: str) -> bool:
    """Whether a unit that the gold answer does not state may stand in a response to `question`.

    A noun that is counted (ways, students) may; a unit of measure only where the question names it, so that `10 km`
    does not pass for 10.
    """
    if _COUNTED.search(f"1{unit}"):
        return unit in _COUNTERS or unit in question
    question = _COMPOUND_WORDS.sub(lambda found: _COMPOUND[found[0]], question.lower())
    measures = [word for word in re.findall(r"[^\W\d]+|[%$]", unit) if word in _UNIT_OF and word != "unit"]
    asked = {_UNIT_OF[word] for word in re.findall(r"[a-z]+|[%$°€£¥]", question) if word in _UNIT_OF}
    if "\\circ" in question or "angle" in question:
        asked.add("degree")
    if "how long" in question and not asked & _TIMES:
        asked |= _TIMES
    if "\\$" not in question and "dollar" not in question and not _states_prices(question):
        asked.discard("dollar")  # an unescaped $ only opens mathematics
    return all(measure in asked for measure in measures)


def _states_prices(question: str) -> bool:
    """Whether every $ stands before an amount, as in `$2 each`, and none encloses mathematics."""
    return "$" in question and len(_PRICE.findall(question)) == question.count("$")
