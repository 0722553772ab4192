"""The order of tests in several processes: what takes long begins first, and does not end last in one of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Test = TypeVar("Test")


def deal(tests: Iterable[Test], group_of: Callable[[Test], Hashable], processes: int) -> list[Test]:
    """Order tests so that each process begins with its share of the groups, and the tests of a group follow each other.

    pytest-xdist gives each process an equal part of the list. One that is done takes over from the end of another's
    part. A test whose group is None is none of the long ones.

    Examples
    --------
    >>> "".join(deal("aBcDeB", lambda test: test if test.isupper() else None, processes=2))
    'BBaDce'
    """
    tests = list(tests)
    groups: dict[Hashable, list[Test]] = {}
    for test in tests:
        groups.setdefault(group_of(test), []).append(test)
    others = groups.pop(None, [])
    ordered: list[Test] = []
    for number in range(processes):
        part = [test for group in list(groups.values())[number::processes] for test in group]
        size = (len(tests) - len(ordered)) // (processes - number)
        missing = max(0, size - len(part))
        ordered += part + others[:missing]
        del others[:missing]
    return ordered + others
