"""Records that DVC did not write are refused in one line, before anything is made from them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgpo.config import ConfigError
from sgpo.registry.dvc_records import recorded_md5s

MERGED = """schema: '2.0'
stages:
  strategies:
    outs:
<<<<<<< HEAD
    - {path: data/strategies.parquet, md5: aaa}
=======
    - {path: data/strategies.parquet, md5: bbb}
>>>>>>> other
"""


def md5s(folder: Path, text: str | bytes) -> dict[str, str]:
    (folder / "dvc.lock").write_bytes(text if isinstance(text, bytes) else text.encode())
    return recorded_md5s(folder, lambda stage: True)


def test_merge_markers_are_named_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dvc.lock line 5: a merge left its markers .*`dvc repro`"):
        md5s(tmp_path, MERGED)


@pytest.mark.parametrize(
    "text", ["stages: 3", "stages: {a: {outs: [x]}}", "- 1", "a: [", "stages: {a: {outs: [{md5: a}]}}"]
)
def test_what_dvc_does_not_write_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        md5s(tmp_path, text)
    assert "dvc.lock" in str(refused.value)
    assert "\n" not in str(refused.value)


@given(content=st.binary(max_size=60))
def test_any_bytes_are_records_or_one_line(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lock")
    try:
        md5s(folder, content)
    except ConfigError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert "\n" not in refusal


def test_outputs_without_an_md5_and_other_fields_are_passed_over(tmp_path: Path) -> None:
    text = "schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - {path: p, md5: m, size: 3}\n    - {path: q}\n"
    assert md5s(tmp_path, text) == {"p": "m"}
