"""Small hand-made files in the formats of the publishers."""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's own cache and data folder."""
    monkeypatch.setenv("HSNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HSNN_DATA", raising=False)


@pytest.fixture
def grouplens(tmp_path: Path) -> Path:
    folder = tmp_path / "grouplens"
    folder.mkdir()
    (folder / "u.data").write_text("7\t2\t3\t200\n8\t1\t5\t100\n7\t1\t1\t200\n")
    flags = ["0"] * 19
    drama, both = [*flags[:8], "1", *flags[9:]], [*flags[:1], "1", *flags[2:8], "1", *flags[9:]]
    films = ["1|Am\xe9lie (2001)|01-Jan-2001||http://x|" + "|".join(drama), "2|unknown||||" + "|".join(both)]
    (folder / "u.item").write_text("\n".join(films) + "\n", "latin-1")
    (folder / "u.user").write_text("7|24|M|technician|85711\n8|53|F|other|94043\n9|30|F|other|1\n")
    return folder


@pytest.fixture
def recbole(tmp_path: Path) -> Path:
    folder = tmp_path / "recbole"
    folder.mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (folder / "ml-100k.inter").write_text(header + "7\t2\t3\t200\n8\t1\t5\t100\n7\t1\t1\t200\n")
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    (folder / "ml-100k.item").write_text(
        header + "1\tAmélie\t2001\tDrama\n2\tunkonwn\tunkonwn\tAction Drama\n", "utf-8"
    )
    header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    (folder / "ml-100k.user").write_text(header + "7\t24\tM\ttechnician\t85711\n8\t53\tF\tother\t94043\n")
    return folder


CLICKS = {
    "user_id": [1, 2, 1, 3],
    "session_size": [2, 9, 2, 1],
    "click_article_id": [50, 60, 60, 50],
    "click_timestamp": [1000, 3000, 2000, 4000],
    "click_environment": [4, 4, 2, 4],
    "click_deviceGroup": [3, 1, 3, 3],
    "click_os": [2, 2, 2, 2],
    "click_country": [1, 1, 1, 1],
    "click_region": [21, 21, 5, 21],
    "click_referrer_type": [1, 1, 7, 1],
}


@pytest.fixture
def globo(tmp_path: Path) -> Path:
    folder = tmp_path / "globo"
    folder.mkdir()
    pq.write_table(pa.table(CLICKS), folder / "clicks_x.parquet")
    with gzip.open(folder / "articles_category.csv.gz", "wt") as file:
        file.write("article_id;category_id\n50;9\n60;4\n70;1\n")
    return folder


@pytest.fixture
def globo_as_published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    (folder / "clicks").mkdir(parents=True)
    rows = list(zip(*CLICKS.values(), strict=True))
    for number, part in enumerate((rows[:2], rows[2:])):
        lines = [",".join(CLICKS), *(",".join(map(str, row)) for row in part)]
        (folder / "clicks" / f"clicks_hour_00{number}.csv").write_text("\n".join(lines) + "\n")
    text = "article_id,category_id,created_at_ts\n50,9,1\n60,4,1\n70,1,1\n"
    (folder / "articles_metadata.csv").write_text(text)
    return folder


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    folder = tmp_path / "tweets"
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::0054890::9::30\n2::1408101::10::10\n3::0068646::0::20\n")
    films = "0054890::À bout (1960)::Action|Short\n1408101::Star: Trek (2013)::\n"
    (folder / "movies.dat").write_text(films, "utf-8")
    return folder


LABELS = ("is_click", "long_view", "is_like", "is_follow", "is_comment", "is_forward", "is_profile_enter", "is_hate")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    none = {label: [0, 0, 0] for label in LABELS}
    log = {"user_id": [1, 2, 1], "video_id": [5, 6, 6], "time_ms": [3000, 1000, 2000], "tab": [1, 0, 1]}
    log |= none | {"is_click": [1, 0, 1], "is_like": [0, 0, 1], "watch_ratio": [0.1, 0.2, 0.3]}
    pq.write_table(pa.table(log), folder / "standard_x.parquet")
    ranges = ("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range")
    users = {"user_id": [1], "is_live_streamer": [0], "is_video_author": [1], "user_active_degree": ["full"]}
    users |= {name: ["0"] for name in ranges} | {f"onehot_feat{number}": [float(number)] for number in range(18)}
    pq.write_table(pa.table(users), folder / "user_features.parquet")
    header = "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,music_type,tag\n"
    with gzip.open(folder / "video_features_basic_pure.csv.gz", "wt") as file:
        file.write(header + '5,77,NORMAL,2022-04-10,Web,0.0,9000.0,9.0,"20,43"\n6,78,AD,2022-04-11,Web,0.0,,,2\n')
    return folder


@pytest.fixture
def invoices(tmp_path: Path) -> Path:
    folder = tmp_path / "invoices"
    folder.mkdir()
    day = datetime(2010, 1, 1, 8, 0)
    rows = [
        ("1", "85123A", " HEART ", 6, day.replace(hour=9), 2.5, 17.0, "France"),  # kept, second
        ("2", "85123a", None, 2, day, 2.0, 18.0, "Spain"),  # kept, first; the same item in small letters
        ("C3", "85123A", "HEART", -6, day, 2.5, 17.0, "France"),  # cancelled
        ("4", "85123A", "HEART", -1, day, 2.5, 17.0, "France"),  # returned
        ("5", "POST", "POSTAGE", 1, day, 18.0, 17.0, "France"),  # no product
        ("6", "22041", "FRAME", 1, day, 0.0, 17.0, "France"),  # no price
        ("7", "22041", "FRAME", 1, day, 2.1, None, "France"),  # nobody known
    ]
    names = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    pq.write_table(table, folder / "online_retail_ii.parquet")
    return folder
