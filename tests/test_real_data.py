"""Real data: whoever has none skips the tests that need it; where it is required they fail."""

from pathlib import Path

import pytest

from real_data import REQUIRED, real_data


def test_data_is_found_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFSIGHT_DATA", str(tmp_path))

    assert real_data() == tmp_path


@pytest.mark.parametrize(
    ("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_missing_data_skips_a_test_or_fails_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("SELFSIGHT_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv(REQUIRED, required)

    with pytest.raises(outcome, match="nowhere is not there"):
        real_data()
