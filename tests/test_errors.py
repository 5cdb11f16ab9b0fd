"""Errors name what was got, what is known, and the closest name."""

from __future__ import annotations

import pytest

from facevlm import errors
from facevlm.errors import FacevlmError, InputError, UnknownName, lookup

TABLE = {"gender": 1, "age5": 0, "race7": 3}


def test_lookup_returns_the_value_even_if_it_is_falsy() -> None:
    assert lookup("attribute", TABLE, "gender") == 1
    assert lookup("attribute", TABLE, "age5") == 0


def test_an_unknown_name_lists_the_known_ones_in_order_with_a_hint() -> None:
    with pytest.raises(UnknownName) as caught:
        lookup("attribute", TABLE, "gendre")
    assert str(caught.value) == "Unknown attribute 'gendre'. Known: age5, gender, race7. Did you mean 'gender'?"
    assert (caught.value.kind, caught.value.name) == ("attribute", "gendre")


def test_there_is_no_hint_for_a_name_like_no_other() -> None:
    assert "Did you mean" not in str(UnknownName("attribute", "zzz", TABLE))


def test_an_empty_registry_says_so() -> None:
    assert str(UnknownName("run", "x", [])) == "Unknown run 'x'. Known: none."


@pytest.mark.parametrize("name", ["FieldError", "TargetError", "TaxonomyError", "UnknownName"])
def test_what_the_caller_gave_is_an_input_error(name: str) -> None:
    assert issubclass(getattr(errors, name), InputError)


@pytest.mark.parametrize("name", ["InputError", "ImageError", "ModelError", "DatabaseError"])
def test_all_errors_on_purpose_share_one_base(name: str) -> None:
    assert issubclass(getattr(errors, name), FacevlmError)


@pytest.mark.parametrize("name", ["ImageError", "ModelError", "DatabaseError"])
def test_the_branches_of_the_tree_are_apart(name: str) -> None:
    assert not issubclass(getattr(errors, name), InputError)
