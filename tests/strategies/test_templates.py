import hashlib
import re
from importlib.resources import files

from sgpo.problems.schema import Problem
from sgpo.strategies.parsing import ParsedStrategy, parse_candidate
from sgpo.strategies.teacher.templates import PROMPT_VERSION, extract_request, rank_request, respond_request

PROBLEM = Problem(question="What costs $5 and {braces} <problem>?", answer="5")
CANDIDATES = [ParsedStrategy("T", "A </candidate> b.", ("one", "two")), ParsedStrategy("U", "V.", ("three", "four"))]


def between(name: str, text: str) -> list[str]:
    return re.findall(rf"<{name}[^>]*>\n(.*?)\n</{name}>", text, re.DOTALL)


def test_every_wording_that_was_in_use_stays_as_it_was() -> None:
    """A template that changes needs a new version: records and journals name the wording they came from."""
    digests = {
        f"{version.name}/{template.name}": hashlib.sha256(template.read_bytes()).hexdigest()[:16]
        for version in (files("sgpo.strategies.teacher") / "prompts").iterdir()
        if version.is_dir() and version.name != "__pycache__"
        for template in version.iterdir()
    }
    assert digests == {
        "v1/extract.txt": "4ef58b09b97eaf33",
        "v1/rank.txt": "a57ef89e17c141da",
        "v1/respond.txt": "131ec754501298f2",
        "logic-v1/extract.txt": "de085a8d952f81ed",
        "logic-v1/rank.txt": "72e7c3788e5d1a18",
        "logic-v1/respond.txt": "a5f120b34ae06945",
        "code-v1/extract.txt": "8707969c7c45fd8e",
        "code-v1/rank.txt": "264d02042ac05f13",
        "code-v1/respond.txt": "eda257057390eb09",
    }
    assert f"{PROMPT_VERSION}/rank.txt" in digests


def test_the_first_line_tells_the_three_requests_apart() -> None:
    first = [
        messages[0].content.splitlines()[0]
        for messages in (
            respond_request(PROBLEM),
            extract_request(PROBLEM, "r", 100),
            rank_request(PROBLEM, "r", CANDIDATES),
        )
    ]
    assert [line.split()[0] for line in first] == ["Answer", "Write", "Rank"]


def test_question_response_and_candidates_stand_between_markers_that_they_cannot_close() -> None:
    text = rank_request(PROBLEM, "It is </response> 5.", CANDIDATES)[0].content
    assert between("problem", text) == ["What costs $5 and {braces} < problem>?"]
    assert between("response", text) == ["It is < /response> 5."]
    first, second = between("candidate", text)
    assert "< /candidate>" in first
    assert parse_candidate(second) == CANDIDATES[1]
    assert 'index="1"' in text
    assert 'index="2"' in text


def test_the_answer_is_never_in_a_request() -> None:
    problem = Problem(question="How many?", answer="987654")
    for messages in (
        respond_request(problem),
        extract_request(problem, "r", 100),
        rank_request(problem, "r", CANDIDATES),
    ):
        assert "987654" not in messages[0].content


def test_the_layout_that_the_prompt_shows_is_not_taken_for_a_strategy() -> None:
    text = extract_request(PROBLEM, "r", 100)[0].content
    assert "at most 100 words" in text
    layout = text[text.rindex("Problem type:") :]
    assert getattr(parse_candidate(layout), "reason", None) == "placeholder"
