"""Schema of a log: its tables, and which column has which role.

Columns are found by common names, or given. Names are compared without case, spaces, dots, dashes and underscores:
``User_ID``, ``userId`` and ``user id`` are one name.
"""

import contextlib
import dataclasses
import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from leanrec.data.engine import SqlEngine, quote_identifier
from leanrec.data.event_types import normalize_name
from leanrec.data.ingest.forms.programs.personal_exports import describe_export
from leanrec.data.ingest.forms.unfold import unfold_events
from leanrec.data.ingest.forms.values import convert_columns, holds_labels, holds_numbers
from leanrec.data.ingest.meaning.column_names import (
    describes_reviews,
    find_title,
    guess_role,
    is_title,
    split_words,
    summarizes_opinions,
)
from leanrec.data.ingest.meaning.column_values import (
    ColumnValues,
    count_values,
    depends_on_item,
    describe_no_types,
    find_type_column,
    find_weak_role,
    holds_small_numbers,
)
from leanrec.data.ingest.meaning.number_text import NumberMarks, WholeNumbers, find_marks
from leanrec.data.ingest.meaning.rating_text import (
    RatingWords,
    describe_rating_text,
    find_rating_words,
    holds_opinions,
    list_words,
)
from leanrec.data.ingest.meaning.ratings import holds_amounts
from leanrec.data.ingest.meaning.retail import RetailColumns, find_retail
from leanrec.data.ingest.meaning.time_columns import combine_times, holds_clocks, unpivot_periods
from leanrec.data.ingest.meaning.unused_columns import describe_unused, suggest_roles
from leanrec.data.ingest.sources import Source, SourcePart, open_parts
from leanrec.data.ingest.timestamps import is_number, may_be_time
from leanrec.errors import ColumnError, SettingError

__all__ = [
    "CONTENT",
    "ROLES",
    "TABLE_ROLES",
    "ColumnRoles",
    "LogSchema",
    "find_columns",
    "find_key",
    "is_id_name",
    "read_schema",
]

# Earlier names win. One-letter names come last: they are used only where there is no clearer name.
_NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        "user", "userid", "useruid", "uid", "visitor", "visitorid", "customer", "customerid", "member", "memberid",
        "reviewer", "reviewerid", "account", "accountid", "client", "clientid", "profileid", "person", "personid",
        "username", "buyerusername", "userkey", "usercode", "userpseudoid", "login", "nickname", "email", "useremail", "emailaddress", "mail",
        "customercode", "customerno", "customernumber", "customeruniqueid", "custid", "cust", "buyer", "buyerid", "shopper", "shopperid",
        "subscriber", "subscriberid", "reader", "readerid", "viewer", "viewerid", "listener", "listenerid", "player", "playerid",
        "student", "studentid", "household", "householdkey", "householdid", "device", "deviceid", "cookie", "cookieid",
        "fullvisitorid", "distinctid", "domainuserid", "anonymousid", "profilename", "reviewprofilename", "steamid", "session", "sessionid", "usr", "usertoken", "entityid", "u",
        "benutzer", "benutzerid", "nutzer", "nutzerid", "kunde", "kundeid", "kundenid", "kundennummer", "kundennr", "utilisateur",
        "utilisateurid", "idutilisateur", "idclient", "usuario", "usuarioid", "idusuario", "usuário", "idusuário", "cliente", "clienteid",
        "idcliente", "utente", "utenteid", "gebruiker", "klant", "klantid", "klantnummer", "klient", "bruker", "uzytkownik", "użytkownik", "uživatel", "kullanici", "kullanıcı", "felhasználó", "asiakas", "用户", "用户id", "用户编号", "会员", "会员id", "客户", "客户id",
        "ユーザー", "ユーザーid", "会員id", "顧客id", "사용자", "사용자id", "пользователь", "клиент",
    ),
    "item": (
        "item", "itemid", "iid", "content_id", "movie", "movieid", "product", "productid", "asin", "parentasin",
        "game", "gameid", "track", "trackid", "song", "songid", "artist", "artistid", "book", "bookid", "isbn", "news", "newsid", "article",
        "articleid", "video", "videoid", "post", "postid", "show", "showid", "anime", "animeid", "recipe", "recipeid",
        "itemcode", "itemno", "itemnumber", "productcode", "productno", "productnumber", "stockcode", "articleno", "articlenumber",
        "materialid", "beer", "beerid", "wine", "wineid", "paper", "paperid", "course", "courseid", "job", "jobid", "hotel", "hotelid",
        "restaurant", "restaurantid", "listing", "listingid", "offerid", "venueid", "locationid", "episode", "episodeid", "podcast",
        "podcastid", "albumid", "aid", "playlistid", "questionid", "ean", "upc", "gtin",
        "business", "businessid", "place", "placeid", "poi", "ad", "adid", "sku", "doc", "docid", "app", "appid", "film", "filmid",
        "beerbeerid", "gmapid", "targetentityid", "lineitemsku", "i", "artikel", "artikelid", "artikelnummer", "artikelnr", "produkt", "produktid", "produktnummer",
        "produit", "produitid", "idproduit", "idarticle", "producto", "productoid", "idproducto", "artículo", "articulo", "produto", "produtoid",
        "idproduto", "prodotto", "articolo", "商品", "商品id", "商品编号", "物品", "物品id", "产品", "产品id", "电影", "电影id", "作品id", "상품", "상품id",
        "товар", "фильм", "artykuł", "ürün", "urun", "termék", "tuote", "vare", "produk",
    ),
    "time": (
        "timestamp", "ts", "timems", "timeus", "timens", "epochms", "unixms", "derivedtstamp", "collectortstamp", "time", "date", "datetime", "eventtime", "eventtimestamp", "eventdate", "createdat", "created",
        "timestampms", "eventts", "servertime", "localtime", "purchasedate", "purchasetime", "orderdate", "ordertime", "invoicedate",
        "transactiondate", "transdat", "clicktime", "viewedat", "playedat", "visittime", "checkintime", "reviewdate", "ratingdate",
        "unixtime", "unixreviewtime", "reviewtime", "ratedat", "when", "zeitstempel", "zeitpunkt", "datum", "bestelldatum", "zeit",
        "horodatage", "dateheure", "fecha", "fechahora", "fechayhora", "datahora", "dataehora", "data", "dátum", "tarih", "dato", "päivämäärä", "时间戳", "时间", "日期", "日時", "タイムスタンプ", "일시", "날짜", "дата", "время", "at", "pos", "order", "sequence", "seq", "step",
    ),
    "rating": (
        "rating", "value", "score", "stars", "overall", "starrating", "ratingvalue", "ratingscore", "reviewscore", "reviewrating", "reviewoverall", "r",
        "bewertung", "note", "évaluation", "evaluation", "calificación", "calificacion", "valoración", "valoracion", "puntuación", "puntuacion",
        "avaliação", "avaliacao", "nota", "voto", "beoordeling", "评分", "評分", "評価", "평점", "оценка", "рейтинг",
    ),
    "weight": ("weight", "plays", "playcount", "hours", "hoursplayed", "playtime", "playtimeforever", "count", "listens"),
    "event_type": ("event", "behavior", "behaviour", "action", "type", "eventtype", "eventname", "behaviortype", "behaviourtype", "kind", "interaction", "reaction", "reactiontype", "行为", "行为类型"),
    "label": (
        "label", "click", "clicked", "clk", "isclick", "isclicked", "liked", "isliked", "islike", "like", "converted", "isconverted", "recommended",
        "isrecommended", "recommend", "recommends", "wouldrecommend", "votedup", "isvotedup", "upvoted", "purchased", "ispurchased", "bought", "isbought", "vote", "feedback", "target",
    ),
}  # fmt: skip
_NAMES = {role: tuple(name.replace("_", "") for name in names) for role, names in _NAMES.items()}

ROLES = tuple(_NAMES)

TABLE_ROLES = (
    "items.id",
    "users.id",
    "item_links.head",
    "item_links.relation",
    "item_links.tail",
    "user_links.user",
    "user_links.friend",
    "user_links.weight",
)
"""Roles of columns in the tables beside the log."""

# Names that may describe a user or an item of which another column is the id.
_DESCRIPTIVE = frozenset(
    (
        "username",
        "buyerusername",
        "login",
        "nickname",
        "email",
        "useremail",
        "emailaddress",
        "mail",
        "ean",
        "upc",
        "gtin",
    )
)
# Names that mean a role only where the values do: in another language, or in some logs.
_VAGUE = frozenset(["note", "nota", "vote", "feedback", "target"])
_VALUES = frozenset(["value", "score", "overall", "r"])
_MIN_TITLES = 20
_MANY = 0.9
_MIN_MATRIX = 4  # columns without a role of which a matrix without users may consist
_ORDERS = {"pos", "order", "sequence", "seq", "step"}
_MUST_BE_NUMBERS = {"rating": "rating", "weight": "weight", "label": "label"}

CONTENT = frozenset(
    (
        "content", "text", "title", "name", "headline", "itemname", "itemtitle", "description", "abstract",
        "summary", "body", "snippet", "category", "categories", "genre", "genres", "tag", "tags", "topic",
        "topics", "brand", "author", "authors", "artistname", "entities", "keywords", "language", "price", "url",
        "image", "picture", "year",
    )
)  # fmt: skip
"""Names of columns that describe items."""


@dataclasses.dataclass(frozen=True)
class ColumnRoles:
    """The columns of one table by role. None: there is no such column.

    Attributes:
        user: user id.
        item: item id.
        time: time, or order.
        rating: explicit rating.
        weight: amount of consumption: plays, hours, a count.
        event_type: name of the event type.
        label: 1 where a shown item was clicked, 0 where it was not.
        content: columns that describe the item.
        retail: columns of a log of purchases.
        notations: column → how its numbers are written, where they have thousands separators or are words.
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    weight: str | None = None
    event_type: str | None = None
    label: str | None = None
    content: tuple[str, ...] = ()
    retail: RetailColumns | None = None
    notations: Mapping[str, NumberMarks | WholeNumbers | RatingWords] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, str]:
        """Return role → column, for the roles that have a column."""
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}

    @property
    def is_order(self) -> bool:
        """Whether the name of the time column means an order."""
        return self.time is not None and normalize_name(self.time) in _ORDERS


@dataclasses.dataclass(frozen=True)
class LogSchema:
    """The tables of a log and their columns.

    Attributes:
        parts: the tables.
        columns: column roles of each table.
        warnings: columns that were not used although their name has a role.
    """

    parts: tuple[SourcePart, ...]
    columns: tuple[ColumnRoles, ...]
    warnings: tuple[str, ...]

    def leave_out_content(self) -> "LogSchema":
        """Return the schema without columns that describe items, for a log with an item table."""
        names = dict.fromkeys(name for cols in self.columns for name in cols.content)
        told = (f"Not used: {', '.join(names)} (columns of the log about items; the item table describes them).",)
        columns = tuple(dataclasses.replace(cols, content=()) for cols in self.columns)
        return dataclasses.replace(self, columns=columns, warnings=self.warnings + told) if names else self

    def rename_column(self, role: str, old: str, new: str) -> "LogSchema":
        """Return the schema with another column for a role, in the tables that use ``old`` and have ``new``."""
        columns = tuple(
            dataclasses.replace(cols, **dict[str, Any]({role: new}))
            if getattr(cols, role) == old and new in part.names
            else cols
            for part, cols in zip(self.parts, self.columns, strict=True)
        )
        told = tuple(each for each in self.warnings if not each.startswith(f"Not used: {new} ("))
        return dataclasses.replace(self, columns=columns, warnings=told)

    def to_dict(self) -> dict[str, dict[str, str]]:
        """Return table → {role: column}; tables with equal columns are listed once."""
        listed: dict[str, dict[str, str]] = {}
        for part, cols in zip(self.parts, self.columns, strict=True):
            found = cols.to_dict() | ({"content": ", ".join(cols.content)} if cols.content else {})
            if found not in listed.values():
                listed[part.event_type or part.label] = found
        return listed


def read_schema(
    engine: SqlEngine,
    source: Source,
    given: Mapping[str, str | None],
    settled: Mapping[str, str] | None = None,
    layout: str | None = None,
) -> LogSchema:
    """Open the source, with one row for each event, and find its columns. Raises SourceError and ColumnError.

    Args:
        engine: the connection.
        source: the log.
        given: role → column; None or "": no column has the role.
        settled: role → column of an earlier log; used in tables that have the column.
        layout: one of ``LAYOUTS``; None: found from the first rows.
    """
    roles = {role: column or "" for role, column in given.items() if role not in TABLE_ROLES}
    positions = any(roles.values()) and all(
        column.replace(",", "").replace(" ", "").isdigit() for column in roles.values() if column
    )
    opened = open_parts(engine, source, positions=positions, layout="long" if layout is None and positions else layout)
    # What was inside structs and lists has the types of other systems too.
    parts = [convert_columns(engine, unfold_events(engine, part, roles, _NAMES, layout)) for part in opened]
    if layout is None and not {"time", "weight", "rating"} & set(roles):
        parts = [unpivot_periods(engine, part) for part in parts]
    columns, warnings, told = [], [], []
    names = [set(map(normalize_name, part.names)) for part in parts]
    for i, own in enumerate(names):
        part = parts[i]
        # Without the optional columns that only other tables of the log have.
        here = {
            role: part.paths.get(column, column)
            for role, column in roles.items()
            if role in {"user", "item"}
            or normalize_name(column) in own
            or not any(normalize_name(column) in each for each in names)
            or column in part.paths
        }
        here |= {
            role: column
            for role, column in (settled or {}).items()
            if role not in here and normalize_name(column) in own and column not in here.values()
        }
        skipped = []
        if "time" not in roles:
            part, combined = combine_times(engine, part, here.values())
            parts[i] = part
            if combined is not None:
                here["time"] = combined.time
                skipped.append(combined.describe())
        try:
            cols, more = _check_roles(engine, part, here)
        except ColumnError as error:
            # The first two columns of a file without names are advised as the users and items.
            free = [
                name for i, name in enumerate(part.names) if _is_open(part, name) and (i > 1 or not name.isdecimal())
            ]
            refusal = ColumnError(f"{error}{suggest_roles(engine, part, free)}")
            raise _find_log_among(parts, part, roles) or refusal from None
        skipped += more
        columns.append(cols)
        told.append({name for name in part.names if any(repr(name) in each for each in skipped)})
        warnings += skipped
    used = [
        {*cols.to_dict().values(), *cols.content, *(cols.retail.names if cols.retail else ())} | more
        for cols, more in zip(columns, told, strict=True)
    ]
    typed = [
        bool(part.event_type or cols.event_type or (cols.retail and cols.retail.document))
        for part, cols in zip(parts, columns, strict=True)
    ]
    warnings += describe_unused(engine, parts, used, typed)
    return LogSchema(tuple(parts), tuple(columns), tuple(dict.fromkeys(warnings)))


def _is_open(part: SourcePart, name: str) -> bool:
    """Whether the name of a column with single values means no role."""
    plain = normalize_name(name)
    is_known = any(plain in names for names in _NAMES.values()) or plain in CONTENT or guess_role(name) is not None
    return not is_known and name not in part.nested


def _find_log_among(parts: Sequence[SourcePart], failed: SourcePart, roles: Mapping[str, str]) -> ColumnError | None:
    """The error for a table beside a log, such as a table of items in the same folder; None where there is no such log."""
    for part in parts:
        if part is failed or roles:
            continue
        try:
            find_columns(part.names, {}, part.label, part.nested)
        except ColumnError:
            continue
        return ColumnError(
            f"All files of a log must have users and items. {part.label} has both, {failed.label} has not. {_list_columns(failed.names)} "
            f"Pass {part.label} alone; a table of items or users goes beside it, as items or users."
        )
    return None


def _check_roles(engine: SqlEngine, part: SourcePart, given: Mapping[str, str]) -> tuple[ColumnRoles, list[str]]:
    """Find the columns of a table, pass over those that cannot have the role of their name, and return warnings about these."""
    passed: dict[str, set[str]] = {}
    warnings: list[str] = []
    while True:
        cols = find_columns(part.names, given, part.label, part.nested, passed)
        found = {role: column for role, column in cols.to_dict().items() if role not in given}
        misfit = _find_misfit(engine, part, cols, found)
        others = {} if misfit else _find_others(part, given, passed, found)
        compared = list(dict.fromkeys([*others.values(), *(found[role] for role in others)]))
        values = count_values(engine, part, compared) if compared else {}
        misfit = misfit or find_weak_role(found, others, values)
        if misfit is None:
            cols, told = _find_event_type(engine, part, cols, given)
            warnings += [*told, *_check_titles(engine, part, cols, given), *_describe_gaps(part, found, others, values)]
            cols, told = _find_notations(engine, part, cols, given)
            cols, skipped = _check_types(engine, part, cols, given)
            cols = dataclasses.replace(cols, retail=_find_retail(engine, part, cols, given))
            return cols, warnings + skipped + ([cols.retail.note] if cols.retail else []) + told
        role, reason = misfit
        column = found[role]
        if not reason.endswith("."):
            what = role.replace("_", " ")
            reason += f'; all the same as the {what}: columns={{"{role}": "{column}"}}).'
        warnings.append(f"Not used: {column!r} of {part.label} ({reason}")
        passed.setdefault(role, set()).add(column)


def _find_misfit(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, found: Mapping[str, str]
) -> tuple[str, str] | None:
    """Return a role whose column cannot have it by its values, and why; None where there is none. ``found`` were not given."""
    rating, time, event_type, label = (found.get(role) for role in ("rating", "time", "event_type", "label"))
    retail = find_retail(part.names)
    if rating is not None and normalize_name(rating) in _VALUES and retail is not None and retail.document is not None:
        how = f'as the rating columns={{"rating": "{rating}"}}, as the weight columns={{"weight": "{rating}"}}'
        return "rating", f"{retail.document!r} says that each row is a purchase, of which it may be the value; {how})."
    if (
        label is not None
        and any(word.startswith("recommend") for word in split_words(label))
        and not describes_reviews(part.names)
    ):
        return "label", (
            "whether the user recommends the item, or the shop recommended it to the user; for likes and dislikes "
            f'columns={{"label": "{label}"}}).'
        )
    if rating is not None and holds_amounts(engine, part, rating, cols.event_type):
        how = f'as the rating columns={{"rating": "{rating}"}}, as the weight columns={{"weight": "{rating}"}}'
        return "rating", f"amounts, such as money or quantities; {how})."
    if time is not None and not may_be_time(engine, part, time, cols.is_order):
        return "time", "no values that may be a time"
    if time is not None and split_words(time)[-1:] == ["times"] and holds_small_numbers(engine, part, time):
        how = f'as the weight columns={{"weight": "{time}"}}, all the same as an order columns={{"time": "{time}"}}'
        return "time", f"numbers of times; {how})."
    if time is not None and holds_clocks(engine, part, time):
        order = f'; all the same as an order: columns={{"time": "{time}"}}' if is_number(part.types[time]) else ""
        return "time", f"times of day without a date{order})."
    if event_type is not None and (reason := describe_no_types(engine, part, event_type)) is not None:
        return "event_type", reason
    for role in ("rating", "weight"):
        column = found.get(role)
        if column is not None and depends_on_item(engine, part, cols.user, cols.item, column, role):
            how = f'columns={{"{role}": "{column}"}}, about the item columns={{"content": "{column}"}}'
            return role, f"one number for each item, as a mean or a total has; all the same as the {role}: {how})."
    return None


def _find_event_type(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]
) -> tuple[ColumnRoles, list[str]]:
    """Return the roles with a column of words for event types, whatever its name, and a note. Other types come first."""
    has_types = part.event_type is not None or cols.event_type is not None or cols.label is not None
    if has_types or {"event_type", "label"} & set(given) or find_retail(part.names) is not None:
        return cols, []
    used = {*cols.to_dict().values(), *cols.content, *part.nested}
    free = [name for name in part.names if name not in used and normalize_name(name) not in CONTENT]
    if (found := find_type_column(engine, part, free)) is None:
        return cols, []
    note = (
        f"{part.label}: the words in the column {found[0]!r}, such as {found[1][0]!r} and {found[1][1]!r}, are read as event types. "
        'For events of no type pass columns={"event_type": None}.'
    )
    return dataclasses.replace(cols, event_type=found[0]), [note]


def _describe_gaps(
    part: SourcePart, found: Mapping[str, str], others: Mapping[str, str], values: Mapping[str, ColumnValues]
) -> list[str]:
    """Return notes about users, items and times that many rows do not have in a column, and have in another one."""
    notes = []
    for role in ("user", "item", "time"):
        if role not in others:
            continue
        one, two = values[found[role]], values[others[role]]
        if one.filled < _MANY * one.rows and two.filled >= _MANY * two.rows:
            notes.append(
                f"{found[role]!r} of {part.label} has no value in {one.rows - one.filled:,} of the first {one.rows:,} rows; "
                f'{others[role]!r} has one. To read it as the {role}, pass columns={{"{role}": "{others[role]}"}}.'
            )
    return notes


def _check_titles(engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]) -> list[str]:
    """Return notes about items or users without ids, which are known by their titles or names.

    Raises ColumnError where each of the first rows has another title, as the reviews of a log have.
    """
    titles = {role: getattr(cols, role) for role in ("user", "item") if role not in given}
    titles = {
        role: name for role, name in titles.items() if normalize_name(name) not in _NAMES[role] and is_title(role, name)
    }
    values = count_values(engine, part, list(titles.values())) if titles else {}
    notes = []
    for role, name in titles.items():
        if values[name].rows >= _MIN_TITLES and values[name].distinct == values[name].rows:
            taken = set(cols.to_dict().values())
            free = [name, *(each for each in part.names if each not in taken)]
            raise ColumnError(_missing_message(role, free, part.names, part.label))
        notes.append(
            f"{part.label} has no ids of {role}s: the {'titles' if role == 'item' else 'names'} in the column {name!r} are the ids, so that "
            f'two {role}s of one name count as one. For another column pass columns={{"{role}": "COLUMN"}}.'
        )
    return notes


def _find_notations(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]
) -> tuple[ColumnRoles, list[str]]:
    """Return the roles with the notations of amounts, orders, units and ratings, and notes. Ratings have no thousands."""
    retail = find_retail(part.names)
    columns = {cols.weight, cols.time if cols.is_order else None, retail.quantity if retail else None}
    if engine.decimal is not None:
        columns.add(cols.rating)
    found: dict[str, tuple[NumberMarks | WholeNumbers | RatingWords | None, str]] = {
        name: find_marks(engine, part, name) for name in part.names if name in columns
    }
    rating = cols.rating
    if rating is not None and not is_number(part.types[rating]) and not holds_numbers(engine, part, rating):
        is_opinion = not engine.rating_words and "rating" not in given and holds_opinions(engine, part, rating)
        if not is_opinion and describe_rating_text(engine, part, rating) is None:
            found[rating] = find_rating_words(engine, part, rating, engine.rating_words)
    notations = {name: each for name, (each, _) in found.items() if each is not None}
    return dataclasses.replace(cols, notations=notations), [told for _, told in found.values() if told]


def _find_others(
    part: SourcePart, given: Mapping[str, str], passed: Mapping[str, set[str]], found: Mapping[str, str]
) -> dict[str, str]:
    """Return role → the next column of its names, for the roles that have one."""
    others: dict[str, str] = {}
    for role, column in found.items():
        without = {**passed, role: {*passed.get(role, ()), column}}
        # A role without another column keeps its own.
        with contextlib.suppress(ColumnError):
            other = getattr(find_columns(part.names, given, part.label, part.nested, without), role)
            if other is not None and other not in found.values():
                others[role] = other
    return others


def _find_meaning(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, role: str
) -> tuple[dict[str, str | None], list[str]] | None:
    """Return other roles for a rating of words (a label), or a label of numbers (none), and warnings; None otherwise."""
    column = getattr(cols, role)
    if role == "label" and not holds_labels(engine, part, column):
        note = (
            f"{part.label}: the column {column!r} holds other values than 0 and 1 and was not used as the label. "
            f'Where they are ratings, pass columns={{"rating": "{column}"}}.'
        )
        return {"label": None}, [] if normalize_name(column) in _VAGUE else [note]
    has_types = part.event_type is not None or cols.event_type is not None or cols.label is not None
    if role == "rating" and not has_types and holds_opinions(engine, part, column):
        note = f"{part.label}: the words in the column {column!r} are read as likes and dislikes, not as ratings."
        return {"rating": None, "label": column}, [note]
    return None


def _check_types(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]
) -> tuple[ColumnRoles, list[str]]:
    """Return the columns whose type fits their role, and warnings about the others. A given column must fit."""
    warnings = []
    unused: dict[str, Any] = {}
    for role, what in _MUST_BE_NUMBERS.items():
        column = getattr(cols, role)
        if column is None:
            continue
        if role not in given and (meant := _find_meaning(engine, part, cols, role)) is not None:
            unused |= meant[0]
            warnings += meant[1]
            continue
        if column in cols.notations or is_number(part.types[column]) or holds_numbers(engine, part, column):
            continue
        if role == "rating" and (note := describe_rating_text(engine, part, column)) is not None:
            warnings.append(note)
            continue
        words = list_words(engine, part, column) if role == "rating" else ()
        stand = "pass rating_words={" + ", ".join(f'"{word}": NUMBER' for word in words) + "}" if words else ""
        if role in given:
            scan, quoted = part.scan if part.file is None else part.file.preview_scan(), quote_identifier(column)
            first = f"SELECT {quoted}::VARCHAR FROM {scan} WHERE {quoted} IS NOT NULL LIMIT 1"
            found = next(iter(words), None) or next((value for (value,) in engine.fetch_rows(first, part.label)), None)
            raise ColumnError(
                f"The {what} must be a number. The column {column!r} of {part.label} holds "
                f"{'no value' if found is None else repr(found)}; name another column{f', or {stand}' if stand else ''}."
            )
        if normalize_name(column) not in _VAGUE:
            advice = f" For the ratings that its words stand for, {stand}." if stand else ""
            warnings.append(
                f"{part.label}: the column {column!r} holds no numbers and was not used as the {what}.{advice}"
            )
        unused[role] = None
    if part.event_type is not None:
        unused |= {"event_type": None, "label": None}
    elif cols.event_type is not None and "event_type" not in given and is_number(part.types[cols.event_type]):
        warnings.append(
            f"{part.label}: the column {cols.event_type!r} holds numbers and was not used as the event type. "
            f'To use it, pass columns={{"event_type": "{cols.event_type}"}}.'
        )
        unused["event_type"] = None
    return dataclasses.replace(cols, **unused), warnings


def _find_retail(
    engine: SqlEngine, part: SourcePart, cols: ColumnRoles, given: Mapping[str, str]
) -> RetailColumns | None:
    """Return the columns of a log of purchases. Ratings and labels, and an event type given as None, say that it is none."""
    if cols.rating is not None or cols.label is not None or given.get("event_type") == "":
        return None
    found = find_retail(part.names)
    if found is None:
        return None
    document, quantity = found.document, found.quantity
    if part.event_type is not None or cols.event_type is not None:
        document = None
    if quantity is not None and (
        quantity in {*cols.to_dict().values()} - {cols.weight}
        or not (quantity in cols.notations or is_number(part.types[quantity]) or holds_numbers(engine, part, quantity))
    ):
        quantity = None
    return RetailColumns(document, quantity) if document or quantity else None


def find_columns(
    names: Sequence[str],
    given: Mapping[str, str | None],
    where: str,
    nested: Collection[str] = (),
    passed: Mapping[str, set[str]] | None = None,
) -> ColumnRoles:
    """Find the columns of a log. ``given`` maps roles to columns and takes precedence over common names.

    Columns of lists and structs, ``nested``, have no role but ``content``. A role that is given as None or "" has no column,
    and ``passed`` maps roles to columns that cannot have them.

    Raises:
        ColumnError: no user or no item column, or a given column that does not exist or is nested.
        SettingError: an unknown role in ``given``.
    """
    unknown = [role for role in given if role not in {*ROLES, "content"}]
    if unknown:
        raise SettingError(f"columns must map {', '.join(ROLES)} or content to a column. Got {unknown[0]!r}.")
    plain = [name for name in names if name not in nested]
    found = {
        role: _match_given(column, names if column in nested else plain, role, where)
        for role, column in given.items()
        if role != "content" and column
    }
    for role, column in found.items():
        if column in nested:
            raise ColumnError(
                f"The {role} of an event must be a single value. The column {column!r} of {where} holds lists or structs; name "
                f"another column. {_list_columns(plain)}"
            )
    # A title is a weak id: only where no column has the ids.
    for find in (_find_common_name, _find_words, _find_last_word, find_title):
        for role in ROLES:
            taken = {*found.values(), *(passed or {}).get(role, ())}
            free = [name for name in plain if name not in taken]
            if role not in found and role not in given and (name := find(role, free)) is not None:
                found[role] = name
    for role in ("user", "item"):
        if role not in found:
            free_names = [name for name in plain if name not in found.values()]
            raise ColumnError(_missing_message(role, free_names, plain, where))
    if "content" in given:
        listed = [name.strip() for name in (given["content"] or "").split(",")]
        content = [_match_given(name, names, "content", where) for name in listed if name]
    else:
        taken = {column for role, column in found.items() if role != "item"}
        content = [name for name in names if name not in taken and normalize_name(name) in CONTENT]
    return ColumnRoles(**dict[str, Any](found), content=tuple(content))


def _find_common_name(role: str, names: Sequence[str]) -> str | None:
    """Return the column with the best common name of the role."""
    free = {normalize_name(name): name for name in reversed(names)}
    return next((free[name] for name in _NAMES[role] if name in free), None)


def _find_words(role: str, names: Sequence[str]) -> str | None:
    """Return the first column whose name means the role by its words.

    Beside the mean or the number of the ratings of an item, a number of plays or purchases is that of the item too.
    """
    if role == "weight" and any(map(summarizes_opinions, names)):
        return None
    return next((name for name in names if guess_role(name) == role), None)


def _find_last_word(role: str, names: Sequence[str]) -> str | None:
    """Return the first column whose path ends in a common name of the role: ``properties.distinct_id``."""
    ends = {name: normalize_name(name.rpartition(".")[2]) for name in names if "." in name}
    return next((name for name, end in ends.items() if len(end) > 1 and end in _NAMES[role]), None)


def is_id_name(role: str, name: str) -> bool:
    """Whether a column of this name may hold the ids of users or items."""
    plain = normalize_name(name)
    return plain in _NAMES[role] and plain not in _DESCRIPTIVE


def find_key(names: Sequence[str], role: str, known_as: Iterable[str | None], given: str | None, where: str) -> str:
    """Find the id column of an item or user table: given, or named as in the log, or by a common name, or ``id``."""
    if given is not None:
        return _match_given(given, names, role, where)
    wanted = [normalize_name(name) for name in known_as if name]
    by_name = {normalize_name(name): name for name in reversed(names)}
    # In a table about users "email" describes the user whose id is in the column "id".
    clear = [name for name in _NAMES[role] if name not in _DESCRIPTIVE]
    for name in (*wanted, *clear, "id", *_NAMES[role]):
        if name in by_name:
            return by_name[name]
    if column := _find_words(role, names):
        return column
    raise ColumnError(_missing_message(role, list(names), names, where, extra=("id",)))


def _match_given(column: str, names: Sequence[str], role: str, where: str) -> str:
    """Return the column of that name. Raises ColumnError with the most similar name."""
    if column in names:
        return column
    by_name = {normalize_name(name): name for name in names}
    if normalize_name(column) in by_name:
        return by_name[normalize_name(column)]
    if column.isdecimal() and 0 < int(column) <= len(names):
        return names[int(column) - 1]
    close = difflib.get_close_matches(column, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ColumnError(f"{where} has no column {column!r}, which was named as the {role}.{hint} {_list_columns(names)}")


def _missing_message(
    role: str, free: Sequence[str], names: Sequence[str], where: str, extra: tuple[str, ...] = ()
) -> str:
    """Say what to do where no column has a role. ``free`` are the columns without a role; two roles may share a column."""
    searched = ", ".join([*_NAMES[role][:6], *extra])
    example = free[0] if len(free) == 1 else "COLUMN"
    key = f"{role}s.id" if extra else role
    if free and all(name.isdecimal() for name in names):
        both = (
            f'"user": "{free[0]}", "item": "{free[1]}"' if key == "user" and len(free) > 1 else f'"{key}": "{free[0]}"'
        )
        named = f'{role}_names="{role},title"' if extra else 'names="user,item"'
        lines = (
            ""
            if extra
            else ' If each line is a user and the items of the user, pass layout="adjacency"; if it is the items of one user, '
            'layout="sequences". If each file is the log of one person, put it into a folder such as logs/user=ann, and pass logs with '
            'columns={"item": "COLUMN"}.'
        )
        return (
            f"{where} has no names in its first line, so that its columns are called {', '.join(names[:10])}"
            f"{' …' if len(names) > 10 else ''}. Name them by number, such as columns={{{both}}}, or name all columns in their "
            f"order, such as {named}.{lines}"
        )
    if role == "user" and not extra and (told := describe_export(names, where)):
        return told
    if len(names) == 1 and len(names[0].split()) > 1 and not extra:
        return (
            f"{where} has lines that are not of the same columns, such as {names[0][:80]!r}. Where each line is a user and the items of "
            'the user, pass layout="adjacency"; where each line is one sequence of items, pass layout="sequences".'
        )
    if not free and not extra:
        alone = (
            "each file is the log of one user, put it"
            if role == "user"
            else "the column named as the user holds the items, put the log of each user"
        )
        return (
            f"{where} has no {role} column. {_list_columns(names)} None of them is left for the {role}s. If {alone} into a folder such as "
            f"logs/user=ann, and pass logs; otherwise add a column of {role}s to the file. "
            "If a later line of the file has the names, remove the lines above it."
        )
    one_of = f", where COLUMN is one of {', '.join(map(repr, free[:10]))}" if len(free) > 1 else ""
    is_matrix = role == "item" and not extra and len(free) > 1
    alone = "" if extra else " If a later line of the file has the names, remove the lines above it."
    if key == "user":
        alone += " If each file is the log of one user, put it into a folder such as logs/user=ann, and pass logs."
    matrix = ' If each of them is an item with the ratings of the users, pass layout="wide".' if is_matrix else ""
    if key == "user" and len(free) >= _MIN_MATRIX:
        matrix = ' If each column is an item, or a user, and the cells are ratings, pass layout="wide".'
    return (
        f"{where} has no {role} column. {_list_columns(names)} Looked for {searched} and similar names, in any case. "
        f'Name it: columns={{"{key}": "{example}"}}{one_of}.{matrix}{alone}'
    )


def _list_columns(names: Sequence[str]) -> str:
    listed = ", ".join(map(repr, names[:30]))
    return f"Its columns are: {listed}{' …' if len(names) > 30 else ''}."
