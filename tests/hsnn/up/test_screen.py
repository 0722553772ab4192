from __future__ import annotations

from io import StringIO

from rich.console import Console

from hsnn.demo.figures import Figures, IndexFigures
from hsnn.up.screen import RoleRow, figures_text, render


def test_everything_fits_eighty_columns():
    figures = Figures(trained=1234, dead_lettered=5, dropped={"duplicate": 2}, index=IndexFigures(items=60, version=3))
    console = Console(width=80, file=StringIO())
    roles = [RoleRow("trainer", "ready", 75.0, 2, "http://127.0.0.1:9101")]
    addresses = {"API": "http://127.0.0.1:8080", "console": "http://127.0.0.1:8080/console"}
    console.print(render("/srv/shop", addresses, roles, figures, ["trainer ended by signal 9"]))
    shown = console.file.getvalue()
    words = " ".join(shown.replace("│", " ").split())
    for text in ("/srv/shop", "/console", "trainer ready 1 min 2", "7 dropped", "signal 9", "version 3, 60 items"):
        assert text in words, text
    assert max(map(len, shown.splitlines())) <= 80


def test_recall_is_shown_beside_popularity():
    figures = Figures(recent={"recall_at_20": {"served": 0.25, "popularity": 0.1}})
    assert figures_text(figures).endswith("recall@20 25.0%, popularity 10.0%")
