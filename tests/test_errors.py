"""Errors: an unknown name comes with close matches, or with the whole table."""

from selfsight.errors import UsageError, unknown_name


def test_an_unknown_name_lists_close_matches() -> None:
    error = unknown_name("task", "rotatoin", ["rotation", "supervised"])

    assert isinstance(error, ValueError)
    assert isinstance(error, UsageError)
    assert str(error) == "unknown task 'rotatoin'; did you mean rotation?"


def test_a_name_like_none_lists_the_table() -> None:
    error = unknown_name("task", "zzz", ["supervised", "rotation"])

    assert str(error) == "unknown task 'zzz'; known: rotation, supervised"
