"""Problems, their files, and the verifier that judges answers."""

from sgpo.problems.readers import read_problems, write_problems
from sgpo.problems.rows import ProblemFileError
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict, Verifier

__all__ = ["Problem", "ProblemFileError", "Verdict", "Verifier", "read_problems", "write_problems"]
