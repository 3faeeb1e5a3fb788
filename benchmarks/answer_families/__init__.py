"""Families of answers of which it is known by construction whether they are right."""

import random
from collections.abc import Callable

from answer_families.expressions import choice, complex_number, equation, pi, polynomial, power, radical, words
from answer_families.made import Made
from answer_families.numbers import based, decimal, degrees, fraction, integer, money, per_cent, ratio, unit
from answer_families.several import a_set, interval, matrix, pair, several

FAMILIES: tuple[Callable[[random.Random], Made], ...] = (
    integer, decimal, fraction, money, per_cent, unit, degrees, based, ratio, several, pair, interval, a_set, matrix,
    radical, pi, polynomial, power, equation, complex_number, choice, words,
)  # fmt: skip
