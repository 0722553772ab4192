"""The order of tests in several processes: what takes long begins first, and does not end last in one of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Test = TypeVar("Test")


def deal(tests: Iterable[Test], group_of: Callable[[Test], Hashable], processes: int) -> list[Test]:
    """Order tests so that all processes but the last begin with a share of the groups, each group in one piece.

    pytest-xdist gives each process an equal part of the list. One that is done takes over from the end of another's
    part. The last one begins with quick tests, since two cores cannot start three systems of several processes at once.
    A test whose group is None is a quick one.

    Examples
    --------
    >>> "".join(deal("aBcDeBfgh", lambda test: test if test.isupper() else None, processes=3))
    'BBaDcefgh'
    """
    tests = list(tests)
    groups: dict[Hashable, list[Test]] = {}
    for test in tests:
        groups.setdefault(group_of(test), []).append(test)
    quick, long = groups.pop(None, []), list(groups.values())
    shares = max(1, processes - 1)
    ordered: list[Test] = []
    for number in range(processes):
        part = [test for group in long[number::shares] for test in group] if number < shares else []
        missing = max(0, (len(tests) - len(ordered)) // (processes - number) - len(part))
        ordered += part + quick[:missing]
        del quick[:missing]
    return ordered + quick
