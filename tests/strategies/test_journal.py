import json
from pathlib import Path

import pytest
from arithmetic_teacher import PROBLEMS, ArithmeticTeacher

from sgpo.strategies.journal import JournalError, RecordedTeacher
from sgpo.strategies.templates import respond_request

MESSAGES = respond_request(PROBLEMS[0])


def ask(teacher: ArithmeticTeacher, path: Path, seed: int = 1, temperature: float = 0.5) -> str:
    with RecordedTeacher(teacher, path) as recorded:
        return recorded.complete(MESSAGES, seed=seed, temperature=temperature).text


def test_the_same_request_is_asked_once_also_by_another_process(tmp_path: Path) -> None:
    first, second = ArithmeticTeacher(), ArithmeticTeacher()
    assert ask(first, tmp_path / "j") == ask(first, tmp_path / "j") == ask(second, tmp_path / "j")
    assert (first.requests.total(), second.requests.total()) == (1, 0)


def test_another_seed_temperature_or_wording_is_another_request(tmp_path: Path) -> None:
    teacher = ArithmeticTeacher()
    with RecordedTeacher(teacher, tmp_path / "j") as recorded:
        recorded.complete(MESSAGES, seed=1, temperature=0.5)
        recorded.complete(MESSAGES, seed=2, temperature=0.5)
        recorded.complete(MESSAGES, seed=1, temperature=0.6)
        recorded.complete(respond_request(PROBLEMS[1]), seed=1, temperature=0.5)
        recorded.complete(MESSAGES, seed=1, temperature=0.5)
    assert (recorded.asked, recorded.reused) == (4, 1)
    assert recorded.prompt_tokens == sum(len(prompt.split()) * n for (prompt, _), n in teacher.requests.items())


def test_a_line_cut_by_a_crash_is_asked_again_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    kept, cut = ask(ArithmeticTeacher(), path, seed=1), ask(ArithmeticTeacher(), path, seed=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    teacher = ArithmeticTeacher()
    assert ask(teacher, path, seed=1) == kept
    assert ask(teacher, path, seed=2) == cut
    assert teacher.requests.total() == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["not JSON", "[]", "{}", json.dumps({"key": "k", "completion": {"text": "t"}})])
def test_a_damaged_journal_is_an_error_that_names_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j"
    ask(ArithmeticTeacher(), path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(JournalError, match=r"j line 2: not a recorded completion"):
        ask(ArithmeticTeacher(), path)


def test_two_runs_cannot_write_one_journal(tmp_path: Path) -> None:
    with (
        RecordedTeacher(ArithmeticTeacher(), tmp_path / "j"),
        pytest.raises(JournalError, match="another run is writing"),
    ):
        ask(ArithmeticTeacher(), tmp_path / "j")
    assert ask(ArithmeticTeacher(), tmp_path / "j")
