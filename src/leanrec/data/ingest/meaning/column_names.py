"""Roles of columns by the words in their names: ``Book-Rating``, ``t_dat``, ``purchase_times``, ``playCount``."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from leanrec.data.event_types import normalize_name

__all__ = [
    "describes_item",
    "describes_reviews",
    "find_title",
    "guess_role",
    "holds_codes",
    "is_title",
    "list_roles",
    "names_amount",
    "names_end",
    "names_period",
    "names_time",
    "split_words",
    "summarizes_opinions",
]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_A-Za-z]+")
_ACCENTS = re.compile("(?<=[A-Za-z])[\u0300-\u036f]+")
_ID = frozenset(
    [
        "id",
        "uri",
        "steamid",
        "key",
        "code",
        "no",
        "nr",
        "number",
        "num",
        "uid",
        "uuid",
        "guid",
        "hash",
        "idx",
        "index",
        "sku",
        "ean",
        "gtin",
        "upc",
        "isbn",
        "asin",
        "ref",
        "barcode",
    ]
)
# Words for an id before the noun, as Romance and Slavic languages have them: id_usuario, cod_articulo.
_ID_OF = frozenset(["id", "cod", "codigo", "codice", "code", "ref", "no", "nr", "numero"])
_USER = frozenset(
    [
        "user",
        "visitor",
        "customer",
        "member",
        "reviewer",
        "account",
        "client",
        "profile",
        "person",
        "buyer",
        "shopper",
        "subscriber",
        "reader",
        "viewer",
        "listener",
        "player",
        "student",
        "household",
        "usr",
        "cust",
        "consumer",
        "guest",
        "patron",
        "passenger",
        "patient",
        "learner",
        # Spanish, Portuguese, French, Italian and German.
        "usuario",
        "cliente",
        "utilisateur",
        "utente",
        "benutzer",
        "nutzer",
        "kunde",
        "comprador",
        "acheteur",
        "alumno",
        "aluno",
        "etudiant",
        # Polish, Czech, the Nordic languages, Hungarian, Turkish and Russian.
        "klient",
        "kund",
        "kd",
        "bruker",
        "bruger",
        "anvandare",
        "uzytkownik",
        "użytkownik",
        "uzivatel",
        "felhasznalo",
        "kullanici",
        "asiakas",
        "пользователь",
        "пользователя",
        "клиент",
        "клиента",
        "покупателя",
    ]
)
_ITEM = frozenset(
    [
        "item",
        "movie",
        "film",
        "product",
        "asin",
        "artist",
        "game",
        "track",
        "song",
        "book",
        "isbn",
        "news",
        "article",
        "video",
        "post",
        "show",
        "anime",
        "recipe",
        "beer",
        "wine",
        "paper",
        "course",
        "job",
        "hotel",
        "restaurant",
        "listing",
        "offer",
        "venue",
        "location",
        "episode",
        "podcast",
        "album",
        "playlist",
        "question",
        "business",
        "place",
        "poi",
        "ad",
        "sku",
        "doc",
        "document",
        "app",
        "goods",
        "dish",
        "exercise",
        "resource",
        "attraction",
        "clip",
        "novel",
        "story",
        "comic",
        "manga",
        "webtoon",
        "drama",
        # Spanish, Portuguese, French, Italian and German.
        "pelicula",
        "filme",
        "libro",
        "livro",
        "livre",
        "buch",
        "musica",
        "musique",
        "cancion",
        "chanson",
        "lied",
        "juego",
        "jogo",
        "jeu",
        "gioco",
        "spiel",
        "curso",
        "cour",  # cours, without the s of a plural
        "corso",
        "kurs",
        "receta",
        "receita",
        "recette",
        "ricetta",
        "rezept",
        "produit",
        "producto",
        "produto",
        "prodotto",
        "produkt",
        "articulo",
        "articolo",
        "artikel",
        "restaurante",
        "ristorante",
        "lieu",
        "lugar",
        "prod",
        "art",
        "content",
        "artykul",
        "artykuł",
        "vara",
        "tuote",
        "termek",
        "urun",
        "товар",
        "товара",
        "фильма",
        "книги",
    ]
)
_TIME = frozenset(
    ["time", "timestamp", "tstamp", "date", "datetime", "ts", "dat", "dt", "when", "epoch", "unix", "utc", "moment"]
)
# In Romance languages the date comes first: date_commande, fecha_compra, data_pedido. The birth of a customer is none.
_DATE_OF = frozenset(["date", "fecha", "data"])
_BOUGHT = frozenset(
    [
        "commande",
        "achat",
        "vente",
        "avis",
        "review",
        "order",
        "purchase",
        "visite",
        "compra",
        "venta",
        "pedido",
        "venda",
        "orden",
        "evento",
        "interaccion",
        "interacao",
        "avaliacao",
        "valoracion",
        "visita",
        "acquisto",
        "ordine",
        "vendita",
        "valutazione",
    ]
)
# What users did, and when, where nothing else tells the time: date_added, created_on, last_seen.
_DONE = frozenset(
    ["add", "added", "create", "created", "rated", "reviewed", "viewed", "watched", "played", "listened", "visited", "clicked", "bought",
     "purchased", "ordered", "seen", "read", "posted", "submitted", "placed", "liked", "made", "logged", "recorded"]
)  # fmt: skip
_PERIODS = {
    "week": frozenset(
        [
            "week",
            "wk",
            "isoweek",
            "yearweek",
            "kw",
            "woche",
            "semaine",
            "semana",
            "settimana",
            "vecka",
            "uke",
            "неделя",
            "周",
        ]
    ),
    "month": frozenset(
        ["month", "yearmonth", "yyyymm", "monat", "mois", "mes", "mese", "maand", "miesiac", "месяц", "月", "月份"]
    ),
    "quarter": frozenset(["quarter", "yearquarter", "qtr", "quartal", "trimestre", "kwartal", "квартал"]),
    "day": frozenset(["day", "yyyymmdd", "jour", "dia", "giorno"]),
    "period": frozenset(["period", "periode"]),
}
# The week of a year is none without the year, a number of days is none, and what is in a cohort or a forecast came at another time.
_OTHER_PERIOD = frozenset(
    ["cohort", "acquisition", "first", "forecast", "target", "due", "number", "count", "num", "per", "since", "last"]
)
_UNITS = frozenset(["s", "sec", "ms", "milli", "us", "micro", "ns", "nano"])
_LONG_UNITS = frozenset(["second", "millis", "millisecond", "micros", "microsecond", "nanos", "nanosecond"])
_RATING = frozenset(["rating", "star", "score"])
_EVENT = frozenset(
    [
        "event",
        "action",
        "behavior",
        "behaviour",
        "interaction",
        "activity",
        "verb",
        "evt",
        # Spanish, Portuguese, French, Italian, German, Russian and Chinese.
        "evento",
        "accion",
        "acao",
        "azione",
        "evenement",
        "aktion",
        "ereignis",
        "действие",
        "событие",
        "事件",
        "操作",
    ]
)
_REVIEW = frozenset(
    [
        "review",
        "helpful",
        "funny",
        "useful",
        "hour",
        "hours",
        "playtime",
        "comment",
        "rating",
        "star",
        "sentiment",
        "opinion",
        "pro",
        "con",
    ]
)
_CONSUMED = frozenset(["play", "listen", "watch", "purchase", "visit", "checkin", "scrobble", "stream"])
_COUNT = frozenset(["count", "cnt", "num", "number", "n", "times", "freq", "frequency", "total"])
_AMOUNT = frozenset(
    [
        "quantity",
        "qty",
        "unit",
        "amount",
        "price",
        "cost",
        "click",
        "view",
        "order",
        "sold",
        "minute",
        "second",
        *_CONSUMED,
    ]
)
# Words that make a name mean something else: the release date of a film, the mean rating of a book, the category of an item.
_OTHER_TIME = frozenset(
    [
        "release",
        "released",
        "publish",
        "published",
        "publication",
        "birth",
        "born",
        "dob",
        "signup",
        "register",
        "registered",
        "registration",
        "join",
        "joined",
        "duration",
        "spent",
        "zone",
        "timezone",
        "expiry",
        "expire",
        "expiration",
        "end",
        "delivery",
        "delivered",
        "shipping",
        "shipped",
        "estimated",
        "reading",
        "cooking",
        "prep",
        "update",
        "updated",
        "modified",
        "watch",
        "dwell",
        "play",
        "playing",
        "listening",
        "viewing",
        "length",
        "stay",
        "session",
        "idle",
        "remaining",
        "etl",
        "interval",
        "limit",
        "elapsed",
        "response",
        "avg",
        "mean",
        "total",
        "between",
        "since",
        "until",
        "launch",
        "member",
        "membership",
    ]
)
_DERIVED = frozenset(
    [
        "count",
        "cnt",
        "avg",
        "average",
        "mean",
        "num",
        "number",
        "std",
        "total",
        "n",
        "max",
        "min",
        "sum",
        "rank",
        "median",
        "predicted",
        "expected",
    ]
)
_OTHER_RATING = frozenset(
    [
        "content",
        "maturity",
        "age",
        "mpaa",
        "parental",
        "esrb",
        "imdb",
        "critic",
        "meta",
        "metacritic",
        "credit",
        "risk",
        "sentiment",
        "vote",
        "weighted",
        "helpful",
        "relevance",
        "popularity",
        "match",
        "id",
    ]
)
_OTHER_ID = frozenset(
    [
        "category",
        "group",
        "type",
        "brand",
        "list",
        "order",
        "status",
        "sub",
        "department",
        "section",
        "cluster",
        "parent",
        "cat",
        "class",
        "subcategory",
        "transaction",
    ]
)
_CODE = frozenset(
    [
        "id",
        "key",
        "code",
        "zip",
        "zipcode",
        "postcode",
        "postal",
        "plz",
        "isbn",
        "ean",
        "upc",
        "gtin",
        "sku",
        "asin",
        "phone",
        "barcode",
        "uuid",
        "title",
        "name",
        "headline",
    ]
)

_MIN_ID = 4
_NO_ID = frozenset(["hybrid", "valid", "invalid", "liquid", "solid", "rapid", "unpaid", "covid", "prepaid"])


def holds_codes(name: str) -> bool:
    """Whether a column of this name holds codes or titles: texts, although all their characters may be digits."""
    words, plain = split_words(name), normalize_name(name)
    is_id = plain.endswith("id") and len(plain) > _MIN_ID and plain not in _NO_ID
    return bool(words) and (words[-1] in _CODE or "zip" in words or is_id)


def split_words(name: str) -> list[str]:
    """Split a name at case, punctuation and digits: ``bookRatings`` is book, rating. Plural words become singular.

    Latin letters lose their accents: ``id_película`` is id, pelicula.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", name)))
    return [_to_singular(word.lower()) for word in _WORD.findall(name.replace("IDs", "Ids"))]


def _to_singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies") and word != "movies":
        return f"{word[:-3]}y"
    keeps_s = word.endswith(("ss", "us", "is", "news", "times", "hours")) or len(word) < 4
    return word if keeps_s and word != "ids" else word.removesuffix("s")


def guess_role(name: str) -> str | None:
    """Return the role that the words of a column name mean, None where they mean none.

    Roles: user, item, time, rating, weight, event_type, label. Common names are compared before these words are.
    """
    words = split_words(name)
    if not words:
        return None
    found = set(words)
    tests = {
        "time": _means_time(words, found),
        "rating": words[-1] in _RATING and not found & (_DERIVED | _OTHER_RATING),
        "event_type": bool(found & _EVENT)
        and (len(words) == 1 or words[-1] in {"type", "name", "kind", "tipo", "typ", *_EVENT}),
        "user": _means_id(name, words, _USER) or ("email" in found and bool(found & {"billing", *_USER})),
        "item": _means_id(name, words, _ITEM),
        "label": bool(found & {"click", "clicked"}) and bool(found & {"is", "was", "has", "label", "flag"}),
        "weight": _means_amount(words, found),
    }
    return next((role for role, means in tests.items() if means), None)


def list_roles(names: Iterable[str]) -> set[str]:
    """Return the roles that any of the names means as it is, or as the begin of the name of an id: ``movie`` of ``movie_id``."""
    found = {guess_role(each) for name in names if name.strip() for each in (name, f"{name}_id")}
    return {role for role in found if role is not None}


def names_amount(name: str) -> bool:
    """Whether a name has a word for a number of things, of whatever they are: ``quantity``, ``n_clicks``, ``Total Price``."""
    found = set(split_words(name))
    return bool(found & {*_COUNT, *_AMOUNT}) or guess_role(name) == "weight"


def names_time(name: str) -> bool:
    """Whether a name has a word for a time or a date, of whatever it is: ``date_reviews``, ``Date Paid``."""
    return bool(set(split_words(name)) & {*_TIME, *_DATE_OF} - {"dat", "dt", "when", "moment", "data"})


def names_period(name: str) -> str | None:
    """Return the kind of period that a name says events are in: week of ``order_week``, month of ``Monat``; None where it says none.

    The month of a birth or of a release is none.
    """
    words = split_words(name)
    found = next((kind for kind, nouns in _PERIODS.items() if set(words) & nouns), None)
    return None if set(words) & (_OTHER_TIME | _OTHER_PERIOD) else found


def names_end(name: str) -> bool:
    """Whether a name says when an event ended, or what users did then, and nothing else: ``endTime``, ``watched``, ``visited``."""
    words = split_words(name)
    is_end = len(words) == 2 and words[0] in {"end", "ended"} and words[1] in _TIME | {"at"}
    return is_end or (len(words) == 1 and words[0] in _DONE)


def describes_item(name: str) -> bool:
    """Whether a time of this name is more likely that of an item than that of an event: ``release_date``, ``published``."""
    return bool(
        set(split_words(name)) & {"release", "released", "publish", "published", "publication", "launch", "launched"}
    )


def summarizes_opinions(name: str) -> bool:
    """Whether a column of this name has the mean or the number of the opinions about an item: ``avg_rating``, ``reviews_count``."""
    found = set(split_words(name))
    return bool(found & {*_RATING, "review"}) and bool(found & _DERIVED)


def describes_reviews(names: Iterable[str]) -> bool:
    """Whether columns of these names are those of reviews, in which users say whether they recommend an item."""
    return any(_REVIEW & set(split_words(name)) for name in names)


def is_title(role: str, name: str) -> bool:
    """Whether a column of this name has the titles of items, or the names of users: ``title``, ``Product Name``, ``trackname``."""
    words, plain = split_words(name), normalize_name(name)
    endings = ("name", "title") if role == "item" else ("name",)
    nouns = _ITEM if role == "item" else _USER
    if role == "item" and plain in {"title", "headline"}:
        return True
    if any(plain.endswith(ending) and plain.removesuffix(ending) in nouns for ending in endings):
        return True
    return len(words) > 1 and words[-1] in endings and words[-2] in nouns


def find_title(role: str, names: Sequence[str]) -> str | None:
    """Return the column that tells items or users apart where none has their ids; None where there is none, and for other roles.

    The title of a track comes before the name of its artist. A column ``id`` leaves open what it identifies.
    """
    if role not in {"user", "item"} or any(normalize_name(name) == "id" for name in names):
        return None
    found = [name for name in names if is_title(role, name)]
    whole = [name for name in found if not any(normalize_name(name).startswith(each) for each in _COLLECTIONS)]
    return next(iter([*whole, *found]), None)


_COLLECTIONS = ("artist", "album", "playlist", "show", "podcast", "venue", "business")


def _means_time(words: list[str], found: set[str]) -> bool:
    is_time = (
        words[-1] in _TIME or words[0] in {"timestamp", "datetime", "unix"} or (len(words) > 1 and words[-1] == "at")
    )
    if words[-1] == "times":
        is_time = len(words) > 1
    if len(words) > 1:
        is_time |= words[-1] in _UNITS and words[-2] in _TIME
        is_time |= words[-1] in _LONG_UNITS and words[-2] in {"epoch", "unix", "timestamp", "ts"}
        is_time |= words[0] in {"ts", "tstamp"} and words[-1] in _DONE | _CONSUMED
        is_time |= words[-1] == "on" and words[-2] in _DONE
        is_time |= words[0] in {"last", "latest"} and words[-1] in _DONE
    is_time |= len(words) == 2 and words[0] in _DATE_OF and words[1] in _BOUGHT | _DONE
    return is_time and not found & _OTHER_TIME


def _means_id(name: str, words: list[str], nouns: frozenset[str]) -> bool:
    """Whether the name is the plural of one of the nouns, or one of them with a word for an id."""
    if len(words) == 1:
        return words[0] in nouns and name.strip().lower() == f"{words[0]}s"
    is_before = len(words) == 2 and words[0] in _ID_OF and words[1] in nouns
    return not set(words) & _OTHER_ID and (is_before or (words[-1] in _ID and words[-2] in nouns))


def _means_amount(words: list[str], found: set[str]) -> bool:
    """Whether the name is a number of plays, or of another form of consumption."""
    if words[-1] in {"hours", "playtime", "playcount"} or (words[-1] == "hour" and found & _CONSUMED):
        return True
    # The number of a visit says which one it is, the number of visits how many.
    is_counted = words[-1] in _COUNT - {"number"} or words[0] in _COUNT
    return len(words) == 2 and is_counted and bool(found & _CONSUMED)
