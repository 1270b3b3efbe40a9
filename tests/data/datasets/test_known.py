"""Known data sets: made-up files in the form of each are read as the form means, with and without its name."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from leanrec.data.datasets.known import find_known, list_known, recognize
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import SettingError, SourceError

DAY = 1_600_000_000
# Ten made-up people, each with four of eight made-up things.
PAIRS = [(user, (3 * user + k) % 8) for user in range(1, 11) for k in range(4)]


def lines(form: str, header: str = "", **more: Any) -> str:
    """One line for each pair, with u, i, k (its number), r (a rating from 1 to 5) and t (seconds)."""
    rows = [
        form.format(u=u, i=i, k=k, r=1 + (u + i) % 5, t=DAY + 1000 * k, day=1 + k % 28, **more)
        for k, (u, i) in enumerate(PAIRS)
    ]
    return "\n".join([*filter(None, [header]), *rows]) + "\n"


def things(form: str, header: str = "") -> str:
    return "\n".join([*filter(None, [header]), *(form.format(i=i) for i in range(8))]) + "\n"


def people(form: str, header: str = "") -> str:
    return "\n".join([*filter(None, [header]), *(form.format(u=u) for u in range(1, 11))]) + "\n"


def sessions() -> str:
    by_user: dict[int, list[dict[str, Any]]] = {}
    for k, (u, i) in enumerate(PAIRS):
        kind = ("clicks", "carts", "orders")[k % 3]
        by_user.setdefault(u, []).append({"aid": i, "ts": (DAY + 1000 * k) * 1000, "type": kind})
    return "".join(json.dumps({"session": u, "events": events}) + "\n" for u, events in by_user.items())


def blocks() -> str:
    return "".join(
        f"{i + 1}:\n" + "".join(f"{u},{1 + (u + i) % 5},2005-09-{1 + u:02}\n" for u, other in PAIRS if other == i)
        for i in range(8)
    )


FILES: dict[str, dict[str, str]] = {
    "movielens": {
        "ratings.csv": lines("{u},{i},{r},{t}", "userId,movieId,rating,timestamp"),
        "movies.csv": things("{i},Film {i} (1999),Drama|Crime", "movieId,title,genres"),
        "links.csv": things("{i},11{i},22{i}", "movieId,imdbId,tmdbId"),
        "tags.csv": "userId,movieId,tag,timestamp\n1,2,slow,1600000000\n",
    },
    "movielens-1m": {
        "ratings.dat": lines("{u}::{i}::{r}::{t}"),
        "movies.dat": things("{i}::Film {i} (1999)::Drama|Crime"),
        "users.dat": people("{u}::F::25::10::0481{u}"),
    },
    "movielens-100k": {
        "u.data": lines("{u}\t{i}\t{r}\t{t}"),
        "u.item": things("{i}|Film {i} (1999)|01-Jan-1995||http://x|" + "|".join("0" * 19)),
        "u.user": people("{u}|24|M|technician|8571{u}"),
    },
    "amazon-2023": {
        "Books.jsonl": lines(
            '{{"rating": {r}.0, "title": "Nice", "text": "so it is", "asin": "B{k}", "parent_asin": "P{i}", "user_id": "A{u}", "timestamp": {t}000}}'
        ),
        "meta_Books.jsonl": things('{{"title": "Thing {i}", "parent_asin": "P{i}", "price": 3.5}}'),
    },
    "amazon-2018": {
        "reviews_Books.json": lines(
            '{{"reviewerID": "A{u}", "asin": "P{i}", "overall": {r}.0, "unixReviewTime": {t}}}'
        ),
        "meta_Books.json": things('{{"asin": "P{i}", "title": "Thing {i}"}}'),
    },
    "otto": {"otto-recsys-train.jsonl": sessions()},
    "mind": {
        "behaviors.tsv": lines("{k}\tU{u}\t11/{day}/2019 9:05:58 AM\t\tN{i}-1 N9{i}-0"),
        "news.tsv": things("N{i}\tsports\tgolf\tNews {i}\tText\thttps://x\t[]\t[]")
        + things("N9{i}\tsports\tgolf\tOther news {i}\tText\thttps://x\t[]\t[]"),
    },
    "hm": {
        "transactions_train.csv": lines(
            "2018-09-{day:02},c{u},011{i},0.05,2", "t_dat,customer_id,article_id,price,sales_channel_id"
        ),
        "articles.csv": things("011{i},Shirt {i}", "article_id,prod_name"),
        "customers.csv": people("c{u},2{u}", "customer_id,age"),
    },
    "book-crossing": {
        "BX-Book-Ratings.csv": lines('"{u}";"01953{i}";"{r}"', '"User-ID";"ISBN";"Book-Rating"') + '"1";"019539";"0"\n',
        "BX-Books.csv": things('"01953{i}";"Book {i}";"Ann"', '"ISBN";"Book-Title";"Book-Author"'),
        "BX-Users.csv": people('"{u}";"x, y";"3{u}"', '"User-ID";"Location";"Age"'),
    },
    "anime": {
        "rating.csv": lines("{u},{i},{r}", "user_id,anime_id,rating") + "1,7,-1\n",
        "anime.csv": things('{i},"Tale {i}","Drama, Sports",TV', "anime_id,name,genre,type"),
    },
    "retailrocket": {
        "events.csv": lines("{t}000,{u},view,{i},", "timestamp,visitorid,event,itemid,transactionid")
        + f"{DAY + 50_000}000,1,transaction,3,7\n",
        "category_tree.csv": "categoryid,parentid\n1,2\n",
    },
    "yoochoose": {
        "yoochoose-clicks.dat": lines("{u},2014-04-{day:02}T10:51:09.277Z,{i},0"),
        "yoochoose-buys.dat": "1,2014-05-02T10:51:09.277Z,3,12462,1\n2,2014-05-02T10:51:09.277Z,6,12462,1\n",
    },
    "steam": {"steam-200k.csv": lines('{u},"Game {i}",purchase,1.0,0') + lines('{u},"Game {i}",play,{r}.5,0')},
    "lastfm-1k": {
        "userid-timestamp-artid-artname-traid-traname.tsv": lines(
            "user_{u:06}\t2009-05-{day:02}T23:08:57Z\tf1b1{i}\tBand {i}\tt{k}\tSong {k}"
        ),
    },
    "lastfm-hetrec": {
        "user_artists.dat": lines("{u}\t{i}\t{r}00", "userID\tartistID\tweight"),
        "artists.dat": things("{i}\tBand {i}\thttp://x\thttp://y", "id\tname\turl\tpictureURL"),
        "user_friends.dat": "userID\tfriendID\n1\t2\n2\t1\n",
    },
    "gowalla": {
        "loc-gowalla_totalCheckins.txt": lines("{u}\t2010-10-{day:02}T23:55:27Z\t30.2{i}\t-97.7{i}\t22{i}"),
        "loc-gowalla_edges.txt": "1\t2\n2\t1\n",
    },
    "instacart": {
        "orders.csv": people("{u},{u},prior,1", "order_id,user_id,eval_set,order_number"),
        "order_products__prior.csv": lines("{u},{i},{k},0", "order_id,product_id,add_to_cart_order,reordered"),
        "products.csv": things("{i},Food {i},1,1", "product_id,product_name,aisle_id,department_id"),
    },
    "recbole": {
        "x.inter": lines("{u}\t{i}\t{r}\t{t}", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
        "x.item": things("{i}\tThing {i}\ta b", "item_id:token\ttitle:token_seq\tclass:token_seq"),
    },
    "netflix": {
        "combined_data_1.txt": blocks(),
        "movie_titles.csv": "\n".join(f"{i + 1},1999,Film {i}" for i in range(8)) + "\n",
    },
    "goodreads": {
        "goodreads_interactions.csv": lines("{u},{i},1,{r},0", "user_id,book_id,is_read,rating,is_reviewed")
        + "1,7,0,0,0\n"
    },
    "kuairec": {
        "big_matrix.csv": lines(
            "{u},{i},3000,6000,2020-07-05 05:27:48.378,20200705,{t}.5,0.{r}",
            "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio",
        ),
        "small_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n",
        "item_categories.csv": things('{i},"[8, 9]"', "video_id,feat"),
    },
    "yelp": {
        "yelp_academic_dataset_review.json": lines(
            '{{"review_id": "r{k}", "user_id": "U{u}", "business_id": "B{i}", "stars": {r}.0, "date": "2018-07-{day:02} 22:09:11"}}'
        ),
        "yelp_academic_dataset_business.json": things('{{"business_id": "B{i}", "name": "Place {i}"}}'),
    },
    "taobao": {"UserBehavior.csv": lines("{u},{i},77,pv,{t}") + f"1,3,77,buy,{DAY + 90_000}\n"},
}


def write(folder: Path, name: str) -> Path:
    for file, text in FILES[name].items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_each_form_is_read_as_it_means(tmp_path: Path, name: str) -> None:
    data, report = ingest(write(tmp_path, name), known_as=name)
    assert len(data.users) >= 10
    assert report.users == 10
    assert report.items_with_events >= 8
    assert report.events >= len(PAIRS)
    assert not report.rejected, report.rejected
    if find_known(name).tables.get("items") and any(not each.startswith("combined") for each in FILES[name]):
        assert data.item_table is not None
    if list_known()[name].certain:
        found = recognize(tmp_path)
        assert found is not None
        assert found.name == name
        again = ingest(tmp_path)
        assert again.data.fingerprint == data.fingerprint
        assert any("known data set" in each and 'known_as="none"' in each for each in again.report.warnings)


def test_no_ratings_weights_and_kinds_of_the_forms(tmp_path: Path) -> None:
    folders = {
        name: tmp_path / name for name in ("anime", "book-crossing", "otto", "steam", "yoochoose", "retailrocket")
    }
    reports = {}
    for name, folder in folders.items():
        folder.mkdir()
        reports[name] = ingest(write(folder, name)).report
    assert sum(reports["anime"].ratings.values()) == len(PAIRS)
    assert reports["anime"].events == len(PAIRS) + 1
    assert sum(reports["book-crossing"].ratings.values()) == len(PAIRS)
    weights = {kind: facts["weight"] for kind, facts in reports["otto"].event_types.items()}
    assert weights == {"clicks": 1, "carts": 2, "orders": 3}
    assert {kind: facts["events"] for kind, facts in reports["steam"].event_types.items()} == {
        "play": 40,
        "purchase": 40,
    }
    assert reports["yoochoose"].event_types["purchase"]["events"] == 2
    assert reports["retailrocket"].event_types["transaction"]["weight"] == 3


def test_a_folder_that_only_looks_alike_is_not_recognized(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("user;item\n1;2\n")
    (tmp_path / "movies.dat").write_text("item;title\n2;x\n")
    assert recognize(tmp_path) is None
    assert recognize(tmp_path / "ratings.dat") is None


def test_a_declaration_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "clicks.txt").write_text("ann;tea;3\nbob;tea;1\n")
    own = tmp_path / "shop.toml"
    own.write_text('log = "clicks.txt"\n[settings]\nnames = "user,item,weight"\ndelimiter = ";"\n')
    assert ingest(tmp_path, known_as=own).report.event_types["play"]["events"] == 2
    own.write_text('log = "clicks.txt"\nitem = "x"\n')
    with pytest.raises(SettingError, match="Got 'item'"):
        ingest(tmp_path, known_as=own)
    own.write_text('log = "views.txt"\n')
    with pytest.raises(SourceError, match=r"shop needs views\.txt .* There is: clicks\.txt"):
        ingest(tmp_path, known_as=own)
    with pytest.raises(SettingError, match="Did you mean 'movielens-1m'"):
        find_known("movielens1m")


def test_the_guide_has_a_command_for_each_known_data_set() -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "your-data-set.md").read_text()
    assert re.findall(r"\| `leanrec ingest \S+ --as (\S+)` \|", text) == list(list_known())
