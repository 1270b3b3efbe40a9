"""Which column is which: usual names, found whatever their case and punctuation, or given.

A name is compared without case, spaces, dots, dashes and underscores: ``User_ID``, ``userId`` and ``user id``
are one name.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from leanrec.errors import ColumnError, SettingError

__all__ = ["CONTENT", "ROLES", "ColumnRoles", "find_columns", "find_key", "plain_name"]

# Earlier names win. One-letter names come last: they are taken only where nothing clearer is there.
_USUAL: dict[str, tuple[str, ...]] = {
    "user": (
        "user", "userid", "useruid", "uid", "visitor", "visitorid", "customer", "customerid", "member", "memberid",
        "reviewer", "reviewerid", "account", "accountid", "client", "clientid", "profileid", "person", "personid",
        "username", "userkey", "usercode", "userpseudoid", "login", "nickname", "email", "useremail", "emailaddress", "mail",
        "customercode", "customerno", "customernumber", "customeruniqueid", "custid", "cust", "buyer", "buyerid", "shopper", "shopperid",
        "subscriber", "subscriberid", "reader", "readerid", "viewer", "viewerid", "listener", "listenerid", "player", "playerid",
        "student", "studentid", "household", "householdkey", "householdid", "device", "deviceid", "cookie", "cookieid",
        "fullvisitorid", "session", "sessionid", "u",
    ),
    "item": (
        "item", "itemid", "iid", "content_id", "movie", "movieid", "product", "productid", "asin", "parentasin", "artist", "artistid",
        "game", "gameid", "track", "trackid", "song", "songid", "book", "bookid", "isbn", "news", "newsid", "article",
        "articleid", "video", "videoid", "post", "postid", "show", "showid", "anime", "animeid", "recipe", "recipeid",
        "itemcode", "itemno", "itemnumber", "productcode", "productno", "productnumber", "stockcode", "articleno", "articlenumber",
        "materialid", "beer", "beerid", "wine", "wineid", "paper", "paperid", "course", "courseid", "job", "jobid", "hotel", "hotelid",
        "restaurant", "restaurantid", "listing", "listingid", "offerid", "venueid", "locationid", "episode", "episodeid", "podcast",
        "podcastid", "albumid", "playlistid", "questionid", "ean", "upc", "gtin",
        "business", "businessid", "place", "placeid", "poi", "ad", "adid", "sku", "doc", "docid", "app", "appid", "i",
    ),
    "time": (
        "timestamp", "ts", "time", "date", "datetime", "eventtime", "eventtimestamp", "eventdate", "createdat", "created",
        "timestampms", "eventts", "servertime", "localtime", "purchasedate", "purchasetime", "orderdate", "ordertime", "invoicedate",
        "transactiondate", "transdat", "clicktime", "viewedat", "playedat", "visittime", "checkintime", "reviewdate", "ratingdate",
        "unixtime", "unixreviewtime", "reviewtime", "ratedat", "when", "pos", "order", "sequence", "seq", "step",
    ),
    "rating": ("rating", "value", "score", "stars", "overall", "starrating", "ratingvalue", "ratingscore", "reviewscore", "reviewrating", "r"),
    "weight": ("weight", "plays", "playcount", "hours", "hoursplayed", "playtime", "count", "listens", "quantity", "qty"),
    "event_type": ("event", "behavior", "behaviour", "action", "type", "eventtype", "behaviortype", "behaviourtype", "kind", "interaction"),
    "label": ("label", "click", "clicked", "isclick"),
}  # fmt: skip
_USUAL = {role: tuple(name.replace("_", "") for name in names) for role, names in _USUAL.items()}

ROLES = tuple(_USUAL)

_DESCRIBE = frozenset(
    ("username", "login", "nickname", "email", "useremail", "emailaddress", "mail", "ean", "upc", "gtin")
)

_ORDERS = {"pos", "order", "sequence", "seq", "step"}

CONTENT = frozenset(
    [
        "content",
        "text",
        "title",
        "name",
        "headline",
        "itemname",
        "itemtitle",
        "description",
        "abstract",
        "summary",
        "body",
        "snippet",
        "category",
        "categories",
        "genre",
        "genres",
        "tag",
        "tags",
        "topic",
        "topics",
        "brand",
        "author",
        "authors",
        "artistname",
        "entities",
        "keywords",
        "language",
        "price",
        "url",
        "image",
        "picture",
        "year",
    ]
)


@dataclasses.dataclass(frozen=True)
class ColumnRoles:
    """The columns of one table, by what they mean. None: there is no such column.

    Attributes:
        user: who.
        item: what.
        time: when, or the order.
        rating: the explicit rating.
        weight: how much: plays, hours, a count.
        event_type: the name of the event type.
        label: 1 where a shown item was taken up, 0 where it was not.
        content: what describes the item.
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    weight: str | None = None
    event_type: str | None = None
    label: str | None = None
    content: tuple[str, ...] = ()

    def found(self) -> dict[str, str]:
        """Role → column, without the roles that no column plays."""
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}

    @property
    def is_order(self) -> bool:
        """Whether the time column is an order by its name."""
        return self.time is not None and plain_name(self.time) in _ORDERS


def plain_name(name: str) -> str:
    """The name without case and punctuation."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


def find_columns(names: Sequence[str], given: Mapping[str, str], where: str) -> ColumnRoles:
    """The columns of a log. ``given`` maps roles to columns and wins over usual names.

    Raises:
        ColumnError: no user or no item column, or a given column that is not there.
        SettingError: a role in ``given`` that does not exist.
    """
    unknown = [role for role in given if role not in {*ROLES, "content"}]
    if unknown:
        raise SettingError(f"columns must map {', '.join(ROLES)} or content to a column. Got {unknown[0]!r}.")
    found = {role: _own_name(column, names, role, where) for role, column in given.items() if role != "content"}
    for role in ROLES:
        if role not in found and (column := _usual(role, names, set(found.values()))) is not None:
            found[role] = column
    for role in ("user", "item"):
        if role not in found:
            raise ColumnError(_missing(role, [name for name in names if name not in found.values()], names, where))
    return ColumnRoles(**found, content=_content(names, found, given, where))


def find_key(names: Sequence[str], role: str, known_as: Iterable[str | None], given: str | None, where: str) -> str:
    """The id column of an item or user table: given, or named as in the log, or by a usual name, or ``id``."""
    if given is not None:
        return _own_name(given, names, role, where)
    wanted = [plain_name(name) for name in known_as if name]
    plain = {plain_name(name): name for name in reversed(names)}
    # In a table about users "email" says something about who "id" is.
    clear = [name for name in _USUAL[role] if name not in _DESCRIBE]
    for name in (*wanted, *clear, "id", *_USUAL[role]):
        if name in plain:
            return plain[name]
    raise ColumnError(_missing(role, list(names), names, where, extra=("id",)))


def _usual(role: str, names: Sequence[str], taken: set[str]) -> str | None:
    plain = {plain_name(name): name for name in reversed(names) if name not in taken}
    return next((plain[usual] for usual in _USUAL[role] if usual in plain), None)


def _own_name(column: str, names: Sequence[str], role: str, where: str) -> str:
    if column in names:
        return column
    plain = {plain_name(name): name for name in names}
    if plain_name(column) in plain:
        return plain[plain_name(column)]
    close = difflib.get_close_matches(column, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ColumnError(f"{where} has no column {column!r}, which was named as the {role}.{hint} {_there(names)}")


def _content(names: Sequence[str], found: Mapping[str, str], given: Mapping[str, str], where: str) -> tuple[str, ...]:
    if "content" in given:
        return tuple(_own_name(name.strip(), names, "content", where) for name in given["content"].split(","))
    taken = {column for role, column in found.items() if role != "item"}
    return tuple(name for name in names if name not in taken and plain_name(name) in CONTENT)


def _missing(role: str, free: Sequence[str], names: Sequence[str], where: str, extra: tuple[str, ...] = ()) -> str:
    """What to do where no column plays a role. ``free`` are the columns that play none; two roles may share a column."""
    usual = ", ".join([*_USUAL[role][:6], *extra])
    example = free[0] if len(free) == 1 else "COLUMN"
    flag = f"{role}s.id" if extra else role
    one_of = f", where COLUMN is one of {', '.join(map(repr, free[:10]))}" if len(free) > 1 else ""
    return (
        f"{where} has no {role} column. {_there(names)} Looked for {usual} and the like, in any case. "
        f'Name it: --column {flag}={example}, or columns={{"{flag}": "{example}"}}{one_of}.'
    )


def _there(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:30]))
    return f"Its columns are: {listed}{' …' if len(names) > 30 else ''}."
