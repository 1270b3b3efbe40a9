"""Exceptions: their base classes, and the message about a missing extra."""

import pytest

from leanrec import errors


def test_every_error_has_the_base_class() -> None:
    names = [name for name in errors.__all__ if name.endswith("Error")]
    assert all(issubclass(getattr(errors, name), errors.LeanrecError) for name in names)


@pytest.mark.parametrize(("package", "extra"), [("torch", "deep"), ("torch.nn", "deep"), ("optuna", "tune")])
def test_a_missing_package_names_its_extra(package: str, extra: str) -> None:
    error = errors.MissingExtraError.from_import_error("SASRec", ImportError(name=package))
    assert f'pip install "leanrec[{extra}]"' in str(error)


def test_other_import_errors_have_no_extra() -> None:
    assert errors.MissingExtraError.from_import_error("SASRec", ImportError(name="json")) is None
