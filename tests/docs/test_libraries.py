"""Each library that is declared is in the architecture page, with the reason why it is used; and no other."""

from __future__ import annotations

import pytest

from docs.generator.architecture import LIBRARIES, Group, declared
from docs.generator.sources import PACKAGE


@pytest.mark.parametrize("group", LIBRARIES, ids=lambda group: group.declared_in)
def test_every_library_is_there_with_its_reason(group: Group) -> None:
    assert sorted(group.libraries) == declared(group)
    assert all(library.why for library in group.libraries.values())


def test_every_file_of_requirements_is_covered() -> None:
    files = {f"requirements/{path.name}" for path in (PACKAGE.parent / "requirements").glob("*.in")}
    assert files | {"pyproject.toml"} == {group.declared_in for group in LIBRARIES}
