"""Known data sets: made-up files in the form of each are read as the form means, with and without its name."""

import bz2
import gzip
import json
import lzma
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pytest

from leanrec.data.datasets.known import find_known, list_known, recognize
from leanrec.data.ingest.ingest import IngestResult, ingest
from leanrec.errors import SettingError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    "movietweetings": {
        "ratings.dat": lines("{u}::011450{i}::{r}::{t}") + "1::0114507::0::1381006850\n",
        "movies.dat": things("011450{i}::Film {i} (1999)::Drama|Crime"),
    },
    "movielens-hetrec": {
        "user_ratedmovies-timestamps.dat": lines("{u}\t{i}\t{r}\t{t}000", "userID\tmovieID\trating\ttimestamp"),
        "movies.dat": things("{i}\tFilm {i}\t011450{i}", "id\ttitle\timdbID"),
    },
    "amazon-ratings-2023": {
        "Books.csv": lines("A{u},P{i},{r}.0,{t}000", "user_id,parent_asin,rating,timestamp"),
    },
    "amazon-ratings-2018": {
        "Books.csv": lines("B00000000{i},A00000000{u:02},{r}.0,{t}"),
        "meta_Books.json": things('{{"asin": "B00000000{i}", "title": "Thing {i}"}}'),
    },
    "amazon-ratings-2014": {"ratings_Books.csv": lines("A00000000{u:02},B00000000{i},{r}.0,{t}")},
    "ebnerd": {
        "behaviors.parquet": "SELECT NULL::INTEGER AS article_id, make_timestamp(1600000000000000 + u) AS "
        "impression_time, [u % 8, (u + 3) % 8, (u + 5) % 8, (u + 6) % 8]::INTEGER[] AS article_ids_inview, "
        "[(u + 3) % 8]::INTEGER[] AS article_ids_clicked, u::INTEGER AS user_id, false AS is_subscriber FROM range(1, 11) AS t(u)",
        "articles.parquet": "SELECT i::INTEGER AS article_id, 'News ' || i AS title FROM range(8) AS t(i)",
    },
    "goodbooks-10k": {
        "ratings.csv": lines("{u},{i},{r}", "user_id,book_id,rating"),
        "books.csv": things("{i},77{i},Ann,Book {i}", "book_id,goodreads_book_id,authors,title"),
        "to_read.csv": "user_id,book_id\n1,2\n",
    },
    "anime-2020": {
        "animelist.csv": lines("{u},{i},{r},2,12", "user_id,anime_id,rating,watching_status,watched_episodes")
        + "1,7,0,6,0\n",
        "anime.csv": things("{i},Tale {i},8.1,Drama", "MAL_ID,Name,Score,Genres"),
    },
    "rees46": {
        "2019-Oct.csv": lines(
            "2019-10-{day:02} 00:00:00 UTC,cart,{i},205,a.b,acme,3.50,{u},s{u}",
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session",
        ),
    },
    "diginetica": {
        "train-item-views.csv": lines("{u};NA;{i};{k};2016-05-09", "sessionId;userId;itemId;timeframe;eventdate"),
        "train-purchases.csv": "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n1;NA;99;2016-05-09;7;3\n",
    },
    "dressipi": {
        "train_sessions.csv": lines("{u},{i},2020-12-{day:02} 12:36:03.4", "session_id,item_id,date"),
        "train_purchases.csv": "session_id,item_id,date\n1,3,2020-12-31 12:36:03.4\n",
    },
    "steam-playtime": {
        "australian_users_items.json": "".join(
            f"{{'user_id': 'u{u}', 'items_count': 4, 'user_url': 'http://x', 'items': ["
            + ", ".join(
                f"{{'item_id': '{i}', 'item_name': \"Game's {i}\", 'playtime_forever': {60 + i}, 'playtime_2weeks': 0}}"
                for _, i in PAIRS[4 * u - 4 : 4 * u]
            )
            + "]}\n"
            for u in range(1, 11)
        ),
        "steam_games.json": things("{{u'id': u'{i}', u'title': u'Game {i}', u'early_access': False}}"),
    },
    "steam-reviews": {
        "steam_reviews.json": lines(
            "{{u'username': u'U {u}', u'hours': {r}.5, u'product_id': u'{i}', u'date': u'2018-01-{day:02}', u'text': u'fine'}}"
        ),
    },
    "lastfm-360k": {"usersha1-artmbid-artname-plays.tsv": lines("{u:040x}\tf1b1-{i}\tBand {i}\t{r}7")},
    "taste-profile": {"train_triplets.txt": lines("{u:040x}\tSO{i:016}\t{r}")},
    "yambda": {
        "multi_event.parquet": "SELECT u::UINTEGER AS uid, (5 * i)::UINTEGER AS timestamp, i::UINTEGER AS item_id, "
        "if(i % 2 = 0, 'listen', 'unlike') AS event_type FROM range(1, 11) AS t(u), range(8) AS s(i)",
    },
    "delicious-hetrec": {
        "user_taggedbookmarks-timestamps.dat": lines("{u}\t{i}\t5\t{t}000", "userID\tbookmarkID\ttagID\ttimestamp"),
        "bookmarks.dat": things("{i}\tabc\tPage {i}\thttp://x", "id\tmd5\ttitle\turl"),
        "user_contacts.dat": "userID\tcontactID\tdate_day\n1\t2\t5\n2\t1\t5\n",
    },
    "foursquare": {
        "dataset_TSMC2014_NYC.txt": lines(
            "{u}\t{i:024x}\t{i:024x}\tCafé\t40.7\t-74.0\t-240\tTue Apr {day:02} 18:00:09 +0000 2012"
        ),
    },
    "online-retail": {
        "online_retail.csv": lines(
            "5363{u:02},S{i},MUG {i},{r},12/{day}/2010 8:26,2.55,{u},United Kingdom",
            "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
        )
        + "C536401,S7,MUG 7,-1,12/30/2010 9:00,2.55,1,France\n",
    },
    "dunnhumby": {
        "transaction_data.csv": lines(
            "{u},269{u},{k},{i},{r},1.39,364", "household_key,BASKET_ID,DAY,PRODUCT_ID,QUANTITY,SALES_VALUE,STORE_ID"
        ),
        "product.csv": things("{i},2,GROCERY", "PRODUCT_ID,MANUFACTURER,DEPARTMENT"),
    },
    "tafeng": {
        "ta_feng_all_months_merged.csv": lines(
            '"11/{day}/2000","0103{u:03}","45-49","115","1302","471{i}","{r}","30","40"',
            '"TRANSACTION_DT","CUSTOMER_ID","AGE_GROUP","PIN_CODE","PRODUCT_SUBCLASS","PRODUCT_ID","AMOUNT","ASSET","SALES_PRICE"',
        ),
    },
    "filmtrust": {"ratings.txt": lines("{u} {i} {half}", half="3.5"), "trust.txt": "1 2 1\n2 1 1\n"},
    "epinions": {"ratings_data.txt": lines("{u} {i} {r}"), "trust_data.txt": " 1 2 1\n 2 3 1\n"},
    "ciao": {
        "movie-ratings.txt": lines("{u},{i},1,{k},{r},2003-07-{day:02}"),
        "trusts.txt": "1,2,1\n2,1,1\n",
    },
    "jester": {"jester_ratings.dat": lines("{u}\t\t{i}\t\t-{r}.219")},
    "jester-matrix": {
        "jester-data-1.csv": "".join(
            "4," + ",".join("-2.5" if (u, i) in PAIRS else "99" for i in range(8)) + "\n" for u in range(1, 11)
        )
    },
    "food": {
        "RAW_interactions.csv": lines("{u},{i},2003-02-{day:02},{r},Nice", "user_id,recipe_id,date,rating,review")
        + '1,7,2003-03-01,0,"not, made"\n',
        "RAW_recipes.csv": things("Soup {i},{i},20", "name,id,minutes"),
    },
    "citeulike": {
        "users.dat": "".join(f"4 {' '.join(str(i) for _, i in PAIRS[4 * u : 4 * u + 4])}\n" for u in range(10)),
        "citations.dat": "0\n1 0\n",
    },
    "goodreads-json": {
        "goodreads_interactions_poetry.json": lines(
            '{{"user_id": "u{u}", "book_id": "{i}", "review_id": "r{k}", "is_read": true, "rating": {r}, '
            '"date_added": "Fri Sep {day:02} 10:44:24 -0700 2017", "date_updated": ""}}'
        ),
        "goodreads_books_poetry.json": things('{{"book_id": "{i}", "title": "Poem {i}"}}'),
    },
    "kuairand": {
        "log_standard_4_08_to_4_21_pure.csv": lines(
            "{u},{i},20220421,1800,{t}123,{click},0,1,5",
            "user_id,video_id,date,hourmin,time_ms,is_click,is_like,tab,play_time_ms",
            click=1,
        )
        + "1,7,20220421,1800,1650533333123,0,0,1,0\n",
        "video_features_basic_pure.csv": things("{i},7,NORMAL", "video_id,author_id,video_type"),
    },
    "tmall": {
        "user_log_format1.csv": lines(
            "{u},{i},833,28,26,0829,{kind}", "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type", kind=0
        )
        + "1,7,8,2,2,1111,2\n"
    },
    "tianchi": {
        "tianchi_fresh_comp_train_user.csv": lines(
            "{u},{i},1,,4076,2014-12-{day:02} 02", "user_id,item_id,behavior_type,user_geohash,item_category,time"
        )
        + "1,7,4,94ek6ke,3,2014-12-18 22\n",
    },
    "frappe": {
        "frappe.csv": lines("{u}\t{i}\t{r}\tmorning", "user\titem\tcnt\tdaytime"),
        "meta.csv": things("{i}\tapp.{i}\tTools", "item\tpackage\tcategory"),
    },
    "deskdrop": {
        "users_interactions.csv": lines(
            "{t},VIEW,-40{i},-81{u},12,,,",
            "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry",
        )
        + "1609000000,COMMENT CREATED,-407,-811,12,,,\n",
        "shared_articles.csv": things("145,CONTENT SHARED,-40{i},Text {i}", "timestamp,eventType,contentId,title"),
    },
    "renttherunway": {
        "renttherunway_final_data.json": lines(
            '{{"fit": "fit", "user_id": "{u}", "bust size": "34d", "item_id": "{i}", "weight": "137lbs", "rating": "{r}", '
            '"review_date": "April {day}, 2016"}}'
        ),
    },
    "modcloth": {
        "modcloth_final_data.json": lines(
            '{{"item_id": "{i}", "waist": "29", "size": 7, "quality": {r}.0, "user_id": "{u}"}}'
        ),
    },
    "playlists": {
        "mpd.slice.0-999.json": json.dumps(
            {
                "info": {"version": "v1"},
                "playlists": [
                    {
                        "name": "mine",
                        "pid": u,
                        "num_tracks": 4,
                        "tracks": [
                            {
                                "pos": k,
                                "artist_name": f"Band {i}",
                                "track_uri": f"spotify:track:{i}",
                                "track_name": f"Song {i}",
                            }
                            for k, (_, i) in enumerate(PAIRS[4 * u - 4 : 4 * u])
                        ],
                    }
                    for u in range(1, 11)
                ],
            }
        ),
    },
    "ali-ccp": {
        "sample_skeleton_train.csv": lines(
            "{k},1,0,bacff{u:02},3,301\x029\x031.0\x01205\x02{i}\x031.0\x01206\x027\x031.0"
        ),
        "common_features_train.csv": people("bacff{u:02},2,101\x02{u}\x031.0\x01121\x023\x031.0"),
    },
    "ali-display": {
        "raw_sample.csv": lines("{u},{t},{i},430548_1007,1,0", "user,time_stamp,adgroup_id,pid,nonclk,clk"),
        "ad_feature.csv": things("{i},6,8,1,9,170.0", "adgroup_id,cate_id,campaign_id,customer,brand,price"),
        "user_profile.csv": people("{u},0,5,2,5", "userid,cms_segid,cms_group_id,final_gender_code,age_level"),
    },
    "avazu": {
        "train.csv": lines(
            "1000{k},0,14102100,1005,0,1fbe01fe,ecad2386,a99f214a,ddd2926{u:02},1570{i}",
            "id,click,hour,C1,banner_pos,site_id,app_id,device_id,device_ip,C14",
        )
    },
    "criteo-attribution": {
        "criteo_attribution_dataset.tsv": lines(
            "{k}\t{u}\t2273{i}\t0\t-1\t-1\t0\t1\t0.01",
            "timestamp\tuid\tcampaign\tconversion\tconversion_timestamp\tconversion_id\tattribution\tclick\tcost",
        )
    },
    "tenrec": {
        "QK-article.csv": lines(
            "{u},{i},1,0,3,9,2,20,{r}", "user_id,item_id,click,gender,age,exposure_count,item_score1,read_time,like"
        )
    },
    "microlens": {
        "MicroLens-50k_pairs.csv": lines("{u},{i},{t}000", "user,item,timestamp"),
        "MicroLens-50k_titles.csv": things("{i},Video {i}", "item,title"),
    },
    "microlens-sequences": {
        "MicroLens-50k_pairs.tsv": "".join(
            f"{u}\t{' '.join(str(i) for _, i in PAIRS[4 * u - 4 : 4 * u])}\n" for u in range(1, 11)
        )
    },
    "xing-2016": {
        "interactions.csv": lines("{u}\t{i}\t1\t{t}", "user_id\titem_id\tinteraction_type\tcreated_at")
        + "1\t7\t4\t1600099999\n",
        "items.csv": things("{i}\t12,13\t3", "id\ttitle\tcareer_level"),
        "users.csv": people("{u}\t1,2\t3", "id\tjobroles\tcareer_level"),
        "impressions.csv": "user_id\tyear\tweek\titems\n1\t2015\t34\t1,2,3\n",
    },
    "xing-2017": {
        "interactions.csv": lines(
            "{u}\t{i}\t1\t{t}",
            "\t".join(
                f"recsyschallenge_v2017_interactions_final_anonym_training_export.{name}"
                for name in ("user_id", "item_id", "interaction_type", "created_at")
            ),
        )
    },
    "jdata": {
        "JData_Action_201602.csv": lines(
            "{u}.0,{i},2016-02-{day:02} 23:59:02,,6,8,545", "user_id,sku_id,time,model_id,type,cate,brand"
        )
        + "1.0,7,2016-03-01 00:00:00,217.0,4,8,489\n",
        "JData_Product.csv": things("{i},3,1,1,8,489", "sku_id,a1,a2,a3,cate,brand"),
    },
    "jdata-2019": {
        "jdata_action.csv": lines("{u},{i},2018-03-{day:02} 20:00:00,5,1", "user_id,sku_id,action_time,module_id,type"),
        "jdata_product.csv": things("{i},5,6,7,2017-01-01", "sku_id,brand,shop_id,cate,market_time"),
        "jdata_user.csv": people("{u},5,1,2017-01-01,6", "user_id,age,sex,user_reg_tm,user_lv_cd"),
    },
    "lfm-1b": {
        "LFM-1b_LEs.txt": lines("{u}\t16{i}\t27{i}\t84{i}\t{t}"),
        "LFM-1b_tracks.txt": things("84{i}\tSong {i}\t16{i}"),
        "LFM-1b_users.txt": people("{u}\tUK\t25\tm", "user_id\tcountry\tage\tgender"),
    },
    "lfm-2b": {
        "listening_events.tsv": lines(
            "{u}\t{i}\t3{i}\t2013-01-{day:02} 00:00:00", "user_id\ttrack_id\talbum_id\ttimestamp"
        ),
        "tracks.tsv": things("{i}\tBand {i}\tSong {i}", "track_id\tartist_name\ttrack_name"),
        "users.tsv": people("{u}\tUS\t31\tm", "user_id\tcountry\tage\tgender"),
    },
    "kdd-2011": {
        "trainIdx1.txt": "".join(
            f"{u}|4\n" + "".join(f"{i}\t{10 * i}\t4127\t13:0{i}:00\n" for _, i in PAIRS[4 * u - 4 : 4 * u])
            for u in range(1, 11)
        )
    },
    "kdd-2012": {"rec_log_train.txt": lines("{u}\t{i}\t-1\t{t}") + "1\t7\t1\t1600099999\n"},
    "kdd-2020": {"underexpose_train_click-0.csv": lines("{u},{i},0.98{k:04}")},
    "epinions-extended": {
        "rating.txt": lines("{i}\t{u}\t{r}\t1\t2001/01/{day:02}\t2001/01/{day:02}\t0\t0"),
        "user_rating.txt": "1\t2\t1\t2001/01/01\n",
        "mc.txt": things("{i}|9|3"),
    },
    "douban": {"user_movie.dat": lines("{u}\t{i}\t{r}"), "user_user.dat": "1\t2\t1\n2\t1\t1\n"},
    "douban-short-comments": {
        "DMSC.csv": lines(
            "{k},Film {i},Pian {i},2017-01-22,{k},User {u},2015-05-{day:02},{r},nice,{k}",
            "ID,Movie_Name_EN,Movie_Name_CN,Crawl_Date,Number,Username,Date,Star,Comment,Like",
        )
    },
}


def write(folder: Path, name: str) -> Path:
    for file, text in FILES[name].items():
        if file.endswith(".parquet"):
            duckdb.execute(f"COPY ({text}) TO '{folder / file}' (FORMAT parquet)")
        else:
            (folder / file).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_each_form_is_read_as_it_means(tmp_path: Path, name: str) -> None:
    certain = bool(list_known()[name].certain)
    data, report = ingest(write(tmp_path, name), known_as=None if certain else name)
    told = [each for each in report.warnings if "known data set" in each]
    assert [f"known data set {name} (" in each and 'known_as="none"' in each for each in told] == [True] * certain
    assert report.users == 10
    assert report.items_with_events >= 8
    assert report.events >= len(PAIRS)
    assert not report.rejected, report.rejected
    assert (data.item_table is not None) >= ("items" in find_known(name).find_tables(tmp_path))


def test_each_declaration_has_files_here() -> None:
    assert {*FILES, "brightkite"} == {*list_known()}  # brightkite has the form of gowalla


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("movielens-1m", "ratings.dat"),
        ("movielens-100k", "u.data"),
        ("amazon-2023", "Books.jsonl"),
        ("mind", "behaviors.tsv"),
        ("book-crossing", "BX-Book-Ratings.csv"),
        ("retailrocket", "events.csv"),
        ("yoochoose", "yoochoose-clicks.dat"),
        ("steam", "steam-200k.csv"),
        ("gowalla", "loc-gowalla_totalCheckins.txt"),
        ("ebnerd", "behaviors.parquet"),
        ("instacart", "order_products__prior.csv"),
        ("citeulike", "users.dat"),
    ],
)
def test_a_file_of_a_log_is_recognized(tmp_path: Path, name: str, file: str) -> None:
    write(tmp_path, name)
    report = ingest(tmp_path / file).report
    told = [each for each in report.warnings if "known data set" in each]
    assert len(told) == 1
    assert f"known data set {name} (" in told[0]
    assert 'as any other file, pass known_as="none"' in told[0]
    assert (report.users, report.events >= len(PAIRS)) == (10, True)
    assert recognize(tmp_path / file) is find_known(name)


def test_tables_of_a_recognized_file_are_read_on_request(tmp_path: Path) -> None:
    write(tmp_path, "movielens-1m")
    alone = ingest(tmp_path / "ratings.dat")
    assert alone.data.item_table is None
    assert any(
        'To read movies.dat, users.dat beside it too, pass known_as="movielens-1m".' in each
        for each in alone.report.warnings
    )
    both = ingest(tmp_path / "ratings.dat", known_as="movielens-1m").data
    assert both.item_table is not None
    assert both.item_table.row(0)["title"] == "Film 0 (1999)"
    given = ingest(tmp_path / "ratings.dat", items=tmp_path / "movies.dat").data
    assert given.item_table is not None
    assert given.item_table.row(0)["title"] == "Film 0 (1999)"
    # The names of the columns of movies.dat do not hold for another table.
    (tmp_path / "own.csv").write_text("movie,label\n0,good\n1,bad\n")
    own = ingest(tmp_path / "ratings.dat", items=tmp_path / "own.csv").data
    assert own.item_table is not None
    assert tuple(own.item_table.columns) == ("label",)


def test_packed_files_and_several_files_are_recognized(tmp_path: Path) -> None:
    text = FILES["gowalla"]["loc-gowalla_totalCheckins.txt"].encode()
    for name, pack in ((".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)):
        path = tmp_path / f"Gowalla_totalCheckins.txt{name}"
        path.write_bytes(pack(text))
        assert recognize(path) is find_known("gowalla")
    first, *rest = FILES["netflix"]["combined_data_1.txt"].split("\n5:")
    parts = [tmp_path / "combined_data_1.txt", tmp_path / "combined_data_2.txt"]
    parts[0].write_text(first + "\n")
    parts[1].write_text("5:" + rest[0])
    data, report = ingest(parts)
    assert (len(data.events), report.users) == (len(PAIRS), 10)
    assert recognize([*parts, path]) is None
    assert recognize([tmp_path / "missing.txt"]) is None
    assert recognize([tmp_path]) is None
    assert recognize("sql:SELECT 1 AS user, 2 AS item" + " " * 5000) is None
    assert ingest("sql:SELECT 1 AS user, 2 AS item" + " " * 5000).report.events == 1


def test_the_item_table_of_a_file_has_its_name(tmp_path: Path) -> None:
    write(tmp_path, "amazon-2023")
    (tmp_path / "Toys.jsonl").write_text(FILES["amazon-2023"]["Books.jsonl"])
    (tmp_path / "meta_Art.jsonl").write_text('{"title": "Wrong", "parent_asin": "P0"}\n')
    data = ingest(tmp_path / "Books.jsonl", known_as="amazon-2023").data
    assert data.item_table is not None
    assert data.item_table.row(0)["title"] == "Thing 0"
    # meta_Toys.jsonl does not exist, and each of the two others may be of another category.
    assert find_known("amazon-2023").find_tables(tmp_path / "Toys.jsonl") == {}


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


def test_event_types_weights_and_order_of_more_forms(tmp_path: Path) -> None:
    def read(name: str) -> IngestResult:
        (tmp_path / name).mkdir()
        return ingest(write(tmp_path / name, name))

    def kinds(name: str) -> dict[str, tuple[float, float]]:
        return {kind: (facts["events"], facts["weight"]) for kind, facts in read(name).report.event_types.items()}

    assert kinds("ebnerd") == {"click": (10, 1), "impression": (30, 0)}
    assert kinds("yambda") == {"listen": (40, 1), "unlike": (40, 0)}
    assert kinds("tmall") == {"0": (40, 1), "2": (1, 3)}
    assert kinds("tianchi") == {"1": (40, 1), "4": (1, 3)}
    assert kinds("diginetica") == {"purchase": (1, 3), "view": (40, 1)}
    assert kinds("dressipi") == {"view": (40, 1), "purchase": (1, 3)}
    assert kinds("online-retail") == {"purchase": (40, 3), "return": (1, 0)}
    assert kinds("kuairand") == {"click": (40, 1), "impression": (1, 0)}
    assert kinds("deskdrop") == {"COMMENT CREATED": (1, 2), "VIEW": (40, 1)}
    assert read("movietweetings").data.items.ids[0] == "0114500"
    played = read("steam-playtime").data
    assert played.events.weight.tolist()[:4] == [60 + i for _, i in sorted(PAIRS[:4])]
    listed = read("playlists").data
    assert [listed.items.ids[i] for i in listed.events.item[:4]] == [f"spotify:track:{i}" for _, i in PAIRS[:4]]


def test_tables_in_another_form_are_read_as_they_are_declared(tmp_path: Path) -> None:
    log = pd.DataFrame({"userId": [1, 2, 1], "movieId": [7, 7, 8], "rating": [4.5, 2, 3], "timestamp": [10**9] * 3})
    films = pd.DataFrame({"movieId": [7, 8], "title": ["Heat (1995)", "Ran (1985)"], "genres": ["Crime", "War"]})
    savers: dict[str, Callable[[pd.DataFrame, Path], object]] = {
        ".parquet": lambda frame, path: frame.to_parquet(path),
        ".feather": lambda frame, path: frame.to_feather(path),
        ".tsv": lambda frame, path: frame.to_csv(path, sep="\t", index=False),
        ".csv.gz": lambda frame, path: frame.to_csv(path, index=False),
        ".zip": lambda frame, path: frame.to_csv(path, index=False),
        ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    }
    for number, (form, save) in enumerate(savers.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        save(log, folder / f"ratings{form}")
        save(films, folder / f"movies{form}")
        data = ingest(folder, known_as="movielens").data
        assert data.events.rating is not None
        assert data.item_table is not None
        assert (data.events.rating.tolist(), data.item_table.row(1)["title"]) == ([4.5, 3, 2], "Ran (1985)"), form
        if form in {".parquet", ".feather"}:  # the names of the columns come from the file
            assert len(ingest(folder, known_as="movielens-1m").data.events) == 3


def test_a_folder_that_only_looks_alike_is_not_recognized(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("user;item\n1;2\n")
    (tmp_path / "movies.dat").write_text("item;title\n2;x\n")
    assert recognize(tmp_path) is None
    assert recognize(tmp_path / "ratings.dat") is None


def test_a_declaration_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "clicks.txt").write_text("ann;tea;3\nbob;tea;1\n")
    own = tmp_path / "shop.toml"
    own.write_text('log = "clicks.txt"\n[settings]\nnames = "user,item,weight"\ndelimiter = ";"\n')
    assert ingest(tmp_path, known_as=own).report.event_types["interaction"]["events"] == 2
    own.write_text('log = "clicks.txt"\nitem = "x"\n')
    with pytest.raises(SettingError, match="Got 'item'"):
        ingest(tmp_path, known_as=own)
    own.write_text('log = "views.txt"\n')
    with pytest.raises(SourceError, match=r"shop needs views\.txt .* There is: clicks\.txt"):
        ingest(tmp_path, known_as=own)
    with pytest.raises(SettingError, match="Did you mean 'movielens-1m'"):
        find_known("movielens1m")


def test_the_guide_has_a_command_and_the_counts_of_each_known_data_set() -> None:
    text = (Path(__file__).parents[3] / "docs" / "how-to" / "your-data-set.md").read_text()
    found = re.findall(r"\| `leanrec ingest \S+ --as (\S+)` \| [^|]+ \| (\S[^|]*) \|\n", text)
    assert [name for name, _ in found] == list(list_known())


def test_what_is_taken_back_or_shown_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "xing").mkdir()
    jobs = ingest(write(tmp_path / "xing", "xing-2016")).report
    assert {name: facts["weight"] for name, facts in jobs.event_types.items()} == {"1": 1, "4": 0}
    (tmp_path / "weibo").mkdir()
    accounts = ingest(write(tmp_path / "weibo", "kdd-2012"))
    assert accounts.report.positive == 1
    (tmp_path / "music").mkdir()
    music = ingest(write(tmp_path / "music", "kdd-2011")).data
    assert music.rating_range == (0, 100)
    assert music.events.rating is not None
    assert sorted(set(music.events.rating.tolist())) == [10 * i for i in range(8)]


def test_scores_of_articles_are_no_ratings(tmp_path: Path) -> None:
    events = ingest(write(tmp_path, "tenrec")).data.events
    assert events.rating is None
    assert set(events.weight.tolist()) == {1}
