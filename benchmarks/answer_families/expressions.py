"""Expressions, equations, letters and words."""

import random

from answer_families.made import Made, drawn_fraction, thousands


def radical(draw: random.Random) -> Made:
    """A multiple of the root of a number without square factors."""
    factor, inside = draw.randint(2, 12), draw.choice([2, 3, 5, 6, 7, 10, 11, 13, 14, 15])
    return Made(
        f"{factor}\\sqrt{{{inside}}}",
        {
            "one root": f"\\sqrt{{{factor * factor * inside}}}",
            "a dot": f"{factor} \\cdot \\sqrt{{{inside}}}",
            "order": f"\\sqrt{{{inside}}} \\cdot {factor}",
            "plain": f"{factor}*sqrt({inside})",
            "round brackets": f"{factor}\\sqrt({inside})",
            "a power": f"{factor} \\cdot {inside}^{{1/2}}",
            "shortest": f"{factor}\\sqrt{inside}" if inside < 10 else None,
            "rationalised": f"\\frac{{{factor * inside}}}{{\\sqrt{{{inside}}}}}",
        },
        {
            "sign": f"-{factor}\\sqrt{{{inside}}}",
            "factor into the root": f"\\sqrt{{{factor * inside}}}",
            "one more inside": f"{factor}\\sqrt{{{inside + 1}}}",
            "factor lost": f"\\sqrt{{{inside}}}",
            "root lost": f"{factor * inside}",
            "a cube root": f"{factor}\\sqrt[3]{{{inside}}}",
            "one digit": f"{factor + 1}\\sqrt{{{inside}}}",
            "joined": f"{factor}{inside}",
            "rounded": f"{factor * inside**0.5:.2f}",
            "a sum": f"{factor} + \\sqrt{{{inside}}}",
        },
    )


def pi(draw: random.Random) -> Made:
    """Rational multiples of pi."""
    value = drawn_fraction(draw, (1, 30), (2, 12))
    top, bottom = value.numerator, value.denominator
    return Made(
        f"\\frac{{{top}\\pi}}{{{bottom}}}",
        {
            "pi behind": f"\\frac{{{top}}}{{{bottom}}}\\pi",
            "plain": f"{top}*pi/{bottom}",
            "plain with a backslash": f"{top}\\pi/{bottom}",
            "not reduced": f"\\frac{{{2 * top}\\pi}}{{{2 * bottom}}}",
            "a dot": f"\\pi \\cdot \\frac{{{top}}}{{{bottom}}}",
            "plain without a star": f"{top}pi/{bottom}",
        },
        {
            "sign": f"-\\frac{{{top}\\pi}}{{{bottom}}}",
            "pi lost": f"\\frac{{{top}}}{{{bottom}}}",
            "inverse": f"\\frac{{{bottom}\\pi}}{{{top}}}",
            "one digit": f"\\frac{{{top + 1}\\pi}}{{{bottom}}}",
            "rounded": f"{float(value) * 3.14:.2f}",
            "squared": f"\\frac{{{top}\\pi^2}}{{{bottom}}}",
            "below": f"\\frac{{{top}}}{{{bottom}\\pi}}",
            "degrees": f"\\frac{{{top}\\pi}}{{{bottom}}}^\\circ",
        },
    )


def polynomial(draw: random.Random) -> Made:
    """Products of two linear factors, expanded."""
    first, second = draw.sample([number for number in range(-9, 10) if number], 2)
    middle, last = first + second, first * second

    def terms(lead: str, middle: int, last: int) -> str:
        linear = f"{middle:+d}x" if middle else ""
        return f"{lead}{linear}{last:+d}"

    return Made(
        terms("x^2", middle, last),
        {
            "factors": f"(x{first:+d})(x{second:+d})",
            "order": f"{last}{f'{middle:+d}x' if middle else ''}+x^2",
            "braces": terms("x^{2}", middle, last),
            "spaced": terms("x^2", middle, last).replace("+", " + ").replace("-", " - "),
            "a star": terms("x*x", middle, last),
            "named": f"f(x) = {terms('x^2', middle, last)}",
        },
        {
            "sign": terms("-x^2", middle, last),
            "sign of the last": terms("x^2", middle, -last),
            "one digit": terms("x^2", middle, last + 1),
            "sign of the middle": terms("x^2", -middle, last) if middle else None,
            "a term missing": f"x^2{last:+d}" if middle else "x^2",
            "another power": terms("x^3", middle, last),
            "another letter": terms("y^2", 0, last) + (f"{middle:+d}y" if middle else ""),
            "twice": terms("2x^2", middle, last),
            "equal to zero": f"{terms('x^2', middle, last)} = 0",
        },
    )


def power(draw: random.Random) -> Made:
    """Powers of small numbers."""
    base, exponent = draw.choice([2, 3, 5, 7]), draw.randint(3, 9)
    return Made(
        f"{base}^{{{exponent}}}",
        {
            "worked out": str(base**exponent),
            "thousands": thousands(base**exponent, ","),
            "a product": f"{base} \\cdot {base}^{{{exponent - 1}}}",
            "stars": f"{base}**{exponent}",
            "no braces": f"{base}^{exponent}",
        },
        {
            "one digit": f"{base}^{{{exponent + 1}}}",
            "sign": f"-{base}^{{{exponent}}}",
            "sign of the exponent": f"{base}^{{-{exponent}}}",
            "hat lost": f"{base}{exponent}",
            "exchanged": f"{exponent}^{{{base}}}" if exponent**base != base**exponent else None,
            "a product of both": f"{base} \\cdot {exponent}",
            "off by one": str(base**exponent - 1),
        },
    )


def equation(draw: random.Random) -> Made:
    """Lines in the plane."""
    slope, height = draw.choice([2, 3, 4, 5, -2, -3, -4]), draw.choice([1, 2, 3, -1, -2, -5])
    return Made(
        f"y = {slope}x {height:+d}",
        {
            "order": f"y = {height} {slope:+d}x",
            "sides exchanged": f"{slope}x {height:+d} = y",
            "on one side": f"y {-slope:+d}x {-height:+d} = 0",
            "twice": f"2y = {2 * slope}x {2 * height:+d}",
        },
        {
            "sign": f"y = {-slope}x {height:+d}",
            "sign of the last": f"y = {slope}x {-height:+d}",
            "one digit": f"y = {slope}x {height + 7:+d}",
            "letters exchanged": f"x = {slope}y {height:+d}",
            "a term missing": f"y = {slope}x",
            "slope and height exchanged": f"y = {height}x {slope:+d}" if slope != height else None,
            "half of it twice": f"2y = {slope}x {height:+d}",
        },
    )


def complex_number(draw: random.Random) -> Made:
    """Complex numbers."""
    real, imaginary = (draw.choice([number for number in range(-20, 21) if abs(number) > 1]) for _ in range(2))
    return Made(
        f"{real}{imaginary:+d}i",
        {
            "order": f"{imaginary}i{real:+d}",
            "spaced": f"{real} {'+' if imaginary > 0 else '-'} {abs(imaginary)}i",
            "a star": f"{real}{imaginary:+d}*i",
            "named": f"z = {real}{imaginary:+d}i",
        },
        {
            "sign": f"{-real}{imaginary:+d}i",
            "conjugate": f"{real}{-imaginary:+d}i",
            "one digit": f"{real}{imaginary + 1:+d}i",
            "i lost": f"{real + imaginary}",
            "exchanged": f"{imaginary}{real:+d}i" if real != imaginary else None,
            "real part alone": str(real),
            "i squared": f"{real}{imaginary:+d}i^2",
        },
    )


def choice(draw: random.Random) -> Made:
    """Letters of a multiple choice."""
    letter, other = draw.sample("ABCDE", 2)
    return Made(
        letter,
        {
            "as text": f"\\text{{{letter}}}",
            "brackets": f"({letter})",
            "brackets as text": f"\\text{{({letter})}}",
            "bold": f"\\textbf{{{letter}}}",
            "bold brackets": f"\\textbf{{({letter})}}",
            "upright": f"\\mathrm{{{letter}}}",
        },
        {
            "another letter": other,
            "another as text": f"\\text{{{other}}}",
            "doubled": f"{letter}{letter}",
            "two letters": f"{letter}, {other}",
            "joined": f"\\text{{{letter}{other}}}",
            "a number": str("ABCDE".index(letter) + 1),
        },
    )


def words(draw: random.Random) -> Made:
    """Answers in words."""
    gold, other = draw.sample(
        ["Monday", "even", "odd", "Tuesday", "ellipse", "hyperbola", "red", "Alice", "circle", "yes", "no"], 2
    )
    return Made(
        f"\\text{{{gold}}}",
        {
            "not as text": gold,
            "small letters": f"\\text{{{gold.lower()}}}",
            "upright": f"\\mathrm{{{gold}}}",
            "a stop": f"\\text{{{gold}.}}",
        },
        {
            "another word": f"\\text{{{other}}}",
            "negated": f"\\text{{not {gold}}}",
            "both": f"\\text{{{gold} or {other}}}",
            "cut": f"\\text{{{gold[:-1]}}}",
        },
    )
