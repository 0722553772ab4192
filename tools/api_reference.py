"""Write the API reference of the public names, `hsnn.__all__`, from their signatures and docstrings.

Run by ``make docs``: ``python -m tools.api_reference docs/api.md``. A test compares the page with what this writes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hsnn

ROOT = Path(__file__).resolve().parents[1]

LINE = 110
"""Characters of a signature in one line; a longer one gets a line per parameter."""

HEADER = """# API reference

The public Python names, all importable from `hsnn`. Everything else may change without notice. `make docs` generates
this page from signatures and docstrings; terms are in the [glossary](glossary.md).
"""


def reference() -> str:
    """Render the whole page."""
    names = sorted(hsnn.__all__, key=str.lower)
    links = ", ".join(f"[`{name}`](#{name.lower()})" for name in names)
    return "\n\n".join([HEADER.rstrip(), links, *("\n\n".join(_entry(name)) for name in names)]) + "\n"


def _entry(name: str) -> Iterator[str]:
    """Render one public name: where it is defined, signature, summary, parameters, methods."""
    value = getattr(hsnn, name)
    doc = inspect.getdoc(value) or ""
    yield f"## {name}"
    yield f"`from hsnn import {name}`, defined in `{_file(value)}`."
    if not getattr(value, "_is_protocol", False) and not (inspect.isclass(value) and issubclass(value, Exception)):
        yield f"```python\n{_signature(name, value)}\n```"
    yield _prose(doc)
    yield from _parameters(doc)
    if inspect.isclass(value) and (methods := "\n".join(_methods(value))):
        yield f"| member | |\n|---|---|\n{methods}"


def _file(value: Any) -> str:
    """Name the source file of a public name, relative to the clone.

    Examples
    --------
    >>> _file(hsnn.Item)
    'streaming/schema/events.py'
    """
    return str(Path(inspect.getfile(value)).resolve().relative_to(ROOT))


def _signature(name: str, value: Any) -> str:
    """Write a call, wrapped to one parameter per line if it is long."""
    signature = inspect.signature(value)
    parameters = [one for one in signature.parameters.values() if not one.name.startswith("_")]
    parts, keyword_only = list[str](), False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            parts.append("*")
        parts.append(_parameter(parameter))
    returns = (
        ""
        if inspect.isclass(value) or signature.return_annotation is inspect.Signature.empty
        else (f" -> {_annotation(signature.return_annotation)}")
    )
    if len(line := f"{name}({', '.join(parts)}){returns}") <= LINE:
        return line
    return f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def _parameter(parameter: inspect.Parameter) -> str:
    """Write one parameter; a default that is made anew by each call is shown as ``...``."""
    star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = star + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        plain = isinstance(parameter.default, bool | int | float | str | tuple | None)
        text += f" = {parameter.default!r}" if plain else " = ..."
    return text


def _annotation(annotation: Any) -> str:
    """Write a type as its author did: without modules, and without the limits that msgspec validates.

    Examples
    --------
    >>> _annotation("typing.Union[typing.Annotated[str, msgspec.Meta(min_length=1)], int]")
    'str | int'
    """
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z_])", "", text).replace("NoneType", "None")
    for pattern, replacement in _PLAIN_TYPES:
        while (plain := re.sub(pattern, replacement, text)) != text:
            text = plain
    return text


_PLAIN_TYPES: tuple[tuple[str, Any], ...] = (
    (r"Annotated\[((?:(?!Annotated\[).)*?), Meta\([^()]*\)\]", r"\1"),
    (r"Optional\[([^\[\]]*)\]", r"\1 | None"),
    (r"Union\[([^\[\]]*)\]", lambda match: match[1].replace(", ", " | ")),
)


def _prose(doc: str) -> str:
    """Return the text of a docstring before its first section."""
    return re.split(r"\n\n?[A-Z]\w+\n-{3,}", doc)[0].replace("``", "`").strip()


def _parameters(doc: str) -> Iterator[str]:
    """Render the sections Parameters, Returns and Raises of a docstring as lists."""
    for title in ("Parameters", "Returns", "Raises"):
        found = re.search(rf"^{title}\n-+\n(.*?)(?=\n\n?[A-Z]\w+\n-{{3,}}|\Z)", doc, re.DOTALL | re.MULTILINE)
        if found is None:
            continue
        entries = re.findall(r"^(\S.*)\n((?:^(?: +.*)?\n?)*)", found[1] + "\n", re.MULTILINE)
        lines = [f"- `{name}`: {' '.join(text.split())}".removesuffix(": ") for name, text in entries]
        yield f"{title}:\n\n" + "\n".join(lines).replace("``", "`")


def _methods(owner: type) -> Iterator[str]:
    """Render a table row for every public method and property that the class itself defines and documents."""
    for name, member in vars(owner).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or _foreign(owner, name) or not inspect.isfunction(function) or not function.__doc__:
            continue
        summary = _prose(inspect.getdoc(function) or "").partition("\n\n")[0]
        call = name if isinstance(member, property) else f"{name}({', '.join(_names(member))})"
        yield f"| `{call}` | {' '.join(summary.split())} |".replace("``", "`")


def _foreign(owner: type, name: str) -> bool:
    """Whether a member overrides one of a library's class, and so is not for users of `owner`."""
    return any(hasattr(base, name) for base in owner.__mro__[1:] if not base.__module__.startswith("hsnn"))


def _names(method: Any) -> list[str]:
    """List the parameters of a method, `self` and `cls` left out."""
    function = getattr(method, "__func__", method)
    parameters = list(inspect.signature(function).parameters.values())
    kept = parameters if isinstance(method, staticmethod) else parameters[1:]
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [stars.get(one.kind, "") + one.name for one in kept]


def main(arguments: list[str] | None = None) -> int:
    """Write the page to the file that is named."""
    (target,) = sys.argv[1:] if arguments is None else arguments
    Path(target).write_text(reference(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
