"""Sizes on a benchmark's command line, refused with a sentence where nothing could be measured."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Read a whole number of at least 1, as the `type` of an argument.

    Raises
    ------
    argparse.ArgumentTypeError
        It is none.

    Examples
    --------
    >>> positive("20000")
    20000
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number
