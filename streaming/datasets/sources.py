"""The data sets that `hsnn` can read, each with terms, origin and reader."""

from __future__ import annotations

from hsnn.streaming.datasets import globo_news, kuairand, ml_100k, ml_100k_fetch, movietweetings, online_retail_ii
from hsnn.streaming.datasets.source import Source

_ML_100K = Source(
    name=ml_100k.NAME,
    summary="100,000 ratings of 1,682 films by 943 people, with titles and genres; small, and fetched by itself",
    terms="GroupLens research licence: no redistribution, no commercial use; cite Harper and Konstan 2015",
    homepage="https://grouplens.org/datasets/movielens/100k/",
    obtain="`hsnn data get ml-100k`; or a folder with u.data, u.item and u.user, or with RecBole's ml-100k.inter, "
    "ml-100k.item and ml-100k.user",
    read=ml_100k.read,
    fetch=ml_100k_fetch.fetch,
)

_MOVIETWEETINGS = Source(
    name=movietweetings.NAME,
    summary="film ratings from tweets of 2013, with titles and genres; new films keep arriving",
    terms="MIT licence; cite Dooms et al. 2013",
    homepage="https://github.com/sidooms/MovieTweetings",
    obtain="clone the repository; then name a folder that holds ratings.dat and movies.dat, such as its `latest`",
    read=movietweetings.read,
)

_GLOBO_NEWS = Source(
    name=globo_news.NAME,
    summary="news clicks of Globo.com, October 2017: half of the articles live under three days",
    terms="academic use; cite Moreira et al. 2018 and 2019",
    homepage="https://www.kaggle.com/datasets/gspmoreira/news-portal-user-interactions-by-globocom",
    obtain="accept the terms on the publisher's page and download; then name the folder that holds clicks*.parquet and "
    "articles_category.csv.gz, or clicks/*.csv and articles_metadata.csv",
    read=globo_news.read,
)

_KUAIRAND = Source(
    name=kuairand.NAME,
    summary="impressions of short videos, April and May 2022, with clicks, long views, likes and five more labels",
    terms="CC BY-SA 4.0; cite Gao et al. 2022",
    homepage="https://kuairand.com",
    obtain="download KuaiRand-Pure; then name the folder that holds log_standard*.csv (or standard_*.parquet), "
    "user_features* and video_features_basic*",
    read=kuairand.read,
)

_ONLINE_RETAIL_II = Source(
    name=online_retail_ii.NAME,
    summary="invoice lines of a British shop for gifts, 2009 to 2011: repeat purchases, prices, seasonal goods",
    terms="CC BY 4.0; cite Chen, UCI Machine Learning Repository 502",
    homepage="https://archive.ics.uci.edu/dataset/502/online+retail+ii",
    obtain="download it and save both sheets as online_retail_ii*.csv (dates as 2009-12-01 07:45:00) or Parquet; then "
    "name their folder",
    read=online_retail_ii.read,
)

SOURCES = {source.name: source for source in (_ML_100K, _MOVIETWEETINGS, _GLOBO_NEWS, _KUAIRAND, _ONLINE_RETAIL_II)}
"""Data sets by name."""
