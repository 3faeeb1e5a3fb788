"""Numbers, with and without what stands around them."""

import random
from fractions import Fraction

from answer_families.made import Made, digit_changed, digits_swapped, drawn_fraction, moved_comma, negated, thousands


def integer(draw: random.Random) -> Made:
    """Whole numbers up to ten millions."""
    number = draw.choice([1, -1]) * draw.randrange(2, 10 ** draw.randint(1, 7))
    text = str(number)
    return Made(
        text,
        {
            "thousands": thousands(number, ","),
            "thousands in TeX": thousands(number, "{,}"),
            "thousands by a space": thousands(number, "\\,"),
            "a decimal point": f"{text}.0",
            "named": f"x = {text}",
            "dollar signs": f"${text}$",
            "a counted noun": f"{text} \\text{{ ways}}",
            "as a fraction": f"\\frac{{{2 * number}}}{{2}}",
            "a plus": f"+{text}" if number > 0 else None,
            "as text": f"\\text{{{text}}}",
            "thousands and a noun": f"{number:,} \\text{{ ways}}",
            "a segment's length": f"AB = {text}",
            "a value of a function": f"f(2) = {text}",
            "a member of a sequence": f"a_{{10}} = {text}",
            "sides exchanged": f"{text} = n",
            "a sum worked out": f"{number - 1} + 1 = {text}",
        },
        {
            "sign": negated(text),
            "one digit": digit_changed(draw, text),
            "digits swapped": digits_swapped(text),
            "a digit more": f"{text}{draw.randrange(10)}",
            "a digit less": text[:-1] if abs(number) > 9 else None,
            "off by one": str(number + 1),
            "comma moved": moved_comma(number),
            "per cent": f"{text}\\%",
            "a unit that nobody named": f"{text} \\text{{ km}}",
            "a list": f"{text}, {number + 1}",
            "a pair": f"({text}, {number})",
            "digits apart": " ".join(text) if number > 9 else None,
            "ten times": f"{text} \\cdot 10",
            "plus or minus": f"\\pm {abs(number)}",
            "twice the unknown": f"2x = {text}",
            "the unknown squared": f"x^2 = {text}",
            "the unknown plus one": f"x + 1 = {text}",
            "another sum": f"{number} + 1 = {text}",
            "a ratio": f"{text}:1",
        },
    )


def decimal(draw: random.Random) -> Made:
    """Decimals with one to four places."""
    places = draw.randint(1, 4)
    scaled = draw.randrange(1, 10 ** (places + 2)) * 10 + draw.randint(1, 9)
    value = Fraction(scaled, 10**places)
    text = f"{scaled / 10**places:.{places}f}"
    return Made(
        text,
        {
            "zeros behind": f"{text}00",
            "as a fraction": f"\\frac{{{value.numerator}}}{{{value.denominator}}}",
            "as a plain fraction": f"{value.numerator}/{value.denominator}",
            "named": f"x={text}",
            "powers of ten": f"{scaled} \\times 10^{{-{places}}}",
            "dollar signs": f"${text}$",
            "no leading zero": text[1:] if text.startswith("0.") else None,
        },
        {
            "sign": negated(text),
            "one digit": digit_changed(draw, text),
            "point moved": f"{scaled / 10 ** (places - 1):.{max(places - 1, 0)}f}",
            "point lost": text.replace(".", ""),
            "cut": text.split(".")[0],
            "point is a comma": text.replace(".", ", "),
            "per cent": f"{text}\\%",
            "a unit that nobody named": f"{text} \\text{{ kg}}",
            "inverse": f"\\frac{{{value.denominator}}}{{{value.numerator}}}",
        },
    )


def fraction(draw: random.Random) -> Made:
    """Fractions in lowest terms, above and below one."""
    value = drawn_fraction(draw, (1, 60), (2, 40))
    top, bottom = value.numerator, value.denominator
    whole, rest = divmod(top, bottom)
    terminates = Fraction(10**6, bottom).denominator == 1
    wrong_digit = digit_changed(draw, str(top))
    return Made(
        f"\\frac{{{top}}}{{{bottom}}}",
        {
            "plain": f"{top}/{bottom}",
            "dfrac": f"\\dfrac{{{top}}}{{{bottom}}}",
            "tfrac": f"\\tfrac{{{top}}}{{{bottom}}}",
            "not reduced": f"\\frac{{{top * 3}}}{{{bottom * 3}}}",
            "named": f"P = \\frac{{{top}}}{{{bottom}}}",
            "mixed": f"{whole}\\frac{{{rest}}}{{{bottom}}}" if whole else None,
            "mixed and plain": f"{whole} {rest}/{bottom}" if whole else None,
            "as a decimal": f"{float(value):.10f}".rstrip("0") if terminates else None,
            "signs that cancel": f"\\frac{{-{top}}}{{-{bottom}}}",
            "shortest": f"\\frac{top}{bottom}" if top < 10 and bottom < 10 else None,
        },
        {
            "sign": f"-\\frac{{{top}}}{{{bottom}}}",
            "inverse": f"\\frac{{{bottom}}}{{{top}}}",
            "one digit": f"\\frac{{{wrong_digit}}}{{{bottom}}}",
            "whole part joined": f"{whole}{rest}/{bottom}"
            if whole and whole * bottom + rest != int(f"{whole}{rest}")
            else None,
            "whole part lost": f"\\frac{{{rest}}}{{{bottom}}}" if whole else None,
            "whole part plus one": f"{whole + 1} {rest}/{bottom}",
            "rounded": None if terminates else f"{float(value):.2f}",
            "bar lost": f"{top} {bottom}",
            "joined": f"{top}{bottom}",
            "a unit that nobody named": f"\\frac{{{top}}}{{{bottom}}} \\text{{ km}}",
            "per cent": f"{top}/{bottom}\\%",
        },
    )


def money(draw: random.Random) -> Made:
    """Amounts of dollars, with and without cents."""
    cents = draw.randrange(101, 10 ** draw.randint(3, 7))
    cents = cents // 100 * 100 if draw.random() < 0.5 else cents
    amount, text = cents / 100, str(cents // 100) if cents % 100 == 0 else f"{cents / 100:.2f}"
    return Made(
        text,
        {
            "dollar sign": f"\\${text}",
            "dollar sign and thousands": f"\\${amount:,.2f}",
            "in words": f"{text} \\text{{ dollars}}",
            "zeros behind": f"{amount:.2f}",
            "thousands": f"{amount:,.2f}",
            "the sign outside": f"$\\${text}$",
        },
        {
            "sign": f"-{text}",
            "one digit": f"\\${digit_changed(draw, text)}",
            "cents for dollars": f"{text} \\text{{ cents}}",
            "another currency": f"{text} \\text{{ euros}}",
            "another currency's sign": f"€{text}",
            "point moved": f"\\${amount / 10:.3f}",
            "per cent": f"{text}\\%",
            "a unit that nobody named": f"{text} \\text{{ kg}}",
        },
        {"question": "Tickets cost $3 each. How many dollars are paid?"},
    )


def per_cent(draw: random.Random) -> Made:
    """Per cent, whole and with a half."""
    halves = draw.choice([number for number in range(3, 199) if number != 100])
    text = f"{halves / 2:g}"
    share = f"{halves / 200:.4f}".rstrip("0")
    return Made(
        f"{text}\\%",
        {
            "sign left out": text,
            "no backslash": f"{text}%",
            "in words": f"{text} \\text{{ percent}}",
            "of one": share,
            "zeros behind": f"{text}.00\\%" if "." not in text else None,
            "named": f"p = {text}\\%",
        },
        {
            "sign": f"-{text}\\%",
            "one digit": f"{digit_changed(draw, text)}\\%",
            "ten times": f"{halves * 5}\\%",
            "a hundredth": f"{share}\\%",
            "a unit that nobody named": f"{text} \\text{{ km}}",
            "complement": f"{100 - halves / 2:g}\\%",
        },
        {"question": "What percent is it?"},
    )


UNITS = (
    ("km", "m"),
    ("m", "cm"),
    ("kg", "g"),
    ("hours", "minutes"),
    ("miles", "km"),
    ("liters", "gallons"),
    ("cm", "mm"),
)


def unit(draw: random.Random) -> Made:
    """Quantities whose problem states the unit."""
    number = draw.randrange(2, 10 ** draw.randint(1, 5))
    named, other = draw.choice(UNITS)
    text = str(number)
    return Made(
        text,
        {
            "unit given": f"{text} \\text{{ {named}}}",
            "unit upright": f"{text}\\,\\mathrm{{{named}}}",
            "unit in plain letters": f"{text} {named}",
            "thousands and unit": f"{number:,} \\text{{ {named}}}",
            "zeros behind": f"{text}.00 \\text{{ {named}}}",
            "a tie": f"{text}~\\text{{{named}}}",
        },
        {
            "another unit": f"{text} \\text{{ {other}}}",
            "unit squared": f"{text} \\text{{ {named}}}^2",
            "one digit": f"{digit_changed(draw, text)} \\text{{ {named}}}",
            "sign": f"-{text} \\text{{ {named}}}",
            "comma moved": f"{found} \\text{{ {named}}}" if (found := moved_comma(number)) else None,
            "per another": f"{text} \\text{{ {named}/{other}}}",
            "per cent": f"{text}\\%",
        },
        {"question": f"How many {named} is it?", "unit": named},
    )


def degrees(draw: random.Random) -> Made:
    """Angles in degrees."""
    number = draw.randrange(2, 360)
    return Made(
        f"{number}^\\circ",
        {
            "braces": f"{number}^{{\\circ}}",
            "sign left out": str(number),
            "in words": f"{number} \\text{{ degrees}}",
            "the letter": f"{number}°",
        },
        {
            "one digit": f"{digit_changed(draw, str(number))}^\\circ",
            "sign": f"-{number}^\\circ",
            "radians": f"{number} \\text{{ radians}}",
            "ten times": f"{number * 10}^\\circ",
            "per cent": f"{number}\\%",
            "supplement": f"{180 - number}^\\circ" if number != 90 else None,
            "circle read as zero": f"{number}0",
        },
        {"question": "How many degrees has the angle?"},
    )


def based(draw: random.Random) -> Made:
    """Numbers in a base below ten."""
    base = draw.randint(3, 9)
    digits = "".join(str(draw.randrange(base)) for _ in range(draw.randint(2, 4)))
    digits = str(draw.randrange(1, base)) + digits
    changed = str((int(digits[-1]) + 1) % base)
    return Made(
        f"{digits}_{base}",
        {"braces": f"{digits}_{{{base}}}", "base left out": digits, "as text": f"{digits}_{{\\text{{{base}}}}}"},
        {
            "another base": f"{digits}_{{{base + 1}}}",
            "one digit": f"{digits[:-1]}{changed}_{{{base}}}",
            "in base ten": str(int(digits, base)),
            "joined": f"{digits}{base}",
            "sign": f"-{digits}_{{{base}}}",
        },
    )


def ratio(draw: random.Random) -> Made:
    """Ratios of two numbers without a common factor."""
    value = drawn_fraction(draw, (2, 20), (2, 20))
    top, bottom = value.numerator, value.denominator
    return Made(
        f"{top}:{bottom}",
        {
            "spaced": f"{top} : {bottom}",
            "spaced by TeX": f"{top}\\,:\\,{bottom}",
            "as text": f"\\text{{{top}:{bottom}}}",
        },
        {
            "order": f"{bottom}:{top}",
            "one digit": f"{top}:{bottom + 1}",
            "joined": f"{top}{bottom}",
            "sign": f"-{top}:{bottom}",
            "a member more": f"{top}:{bottom}:1",
            "a list": f"{top}, {bottom}",
        },
    )
