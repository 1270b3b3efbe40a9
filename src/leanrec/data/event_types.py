"""Event types and their default weights as evidence of a preference."""

import difflib
import re
from collections.abc import Mapping, Sequence

from leanrec.errors import SettingError
from leanrec.settings import check_at_least

__all__ = [
    "DISLIKED",
    "LIKED",
    "are_event_types",
    "find_later_types",
    "name_amount",
    "name_label",
    "normalize_name",
    "resolve_event_weights",
    "takes_back",
]


def normalize_name(name: str) -> str:
    """Return the name of an event type or a column without case, spaces, dots, dashes and underscores."""
    return re.sub(r"[\s_.\-]+", "", name).lower()


_NAMES_BY_WEIGHT = {
    0.0: "impression impressions exposure exposed show shown display skip skipped dislike dislikes downvote thumbsdown hide hidden "
    "unlike remove removefromcart removed return returned refund report block unfollow pass ignore noclick "
    "sad angry hate boo 👎 😢 😠 😡 💔",
    1.0: "view views pageview detail detailview click clicks open play listen watch read visit interaction rating rate seen tag search "
    "haha wow laugh 😂 😆 😮",
    2.0: "like likes liked favorite favourite favorites fav star upvote thumbsup save saved bookmark wishlist share shared comment "
    "love heart 👍 ❤ ❤️ 😍 🔥 follow cart addtocart addcart basket addtobasket collect download reply complete finish",
    3.0: "purchase purchases purchased buy bought order ordered transaction checkout subscribe pay sale conversion",
}
_WEIGHTS = {name: weight for weight, names in _NAMES_BY_WEIGHT.items() for name in names.split()}

# Names of several words, or of other forms of these words.
_AWAY = frozenset(
    [
        "remove",
        "delete",
        "cancel",
        "cancellation",
        "undo",
        "return",
        "refund",
        "skip",
        "hide",
        "not",
        "no",
        "report",
        "block",
        "abandon",
        "abandoned",
        "leave",
        "uninstall",
        "unsubscribe",
        "unsubscribed",
        "churn",
        "decline",
        "reject",
        "dismiss",
        "chargeback",
        "unrate",
        "mute",
        "negative",
    ]
)
# How words begin that say that a purchase was taken back, in several languages. Chinese and Japanese words have no gaps.
_BACK = (
    "cancel", "refund", "returned", "chargeback", "voided", "annul", "storn", "retourn", "rembours", "reembols", "devuel", "devol",
    "отмен", "возвр", "取消", "退款", "退货", "退貨", "キャンセル", "返品", "返金", "취소", "환불", "반품",
)  # fmt: skip
LIKED = (
    "gefällt mir", "mag ich", "j'aime", "j’aime", "me gusta", "mi piace", "curtir", "curti", "gosto", "gostei", "leuk", "vind ik leuk",
    "lubię", "lubię to", "líbí se mi", "нравится", "мне нравится", "beğen", "beğendim", "beğeni", "gillar", "liker", "synes godt om",
    "tykkään", "tetszik", "いいね", "好き", "喜欢", "喜歡", "赞", "点赞", "讚", "좋아요", "좋아함", "thích", "suka",
)  # fmt: skip
"""Words for a like in other languages, in lower case."""

DISLIKED = (
    "gefällt mir nicht", "mag ich nicht", "je n'aime pas", "je n’aime pas", "j'aime pas", "no me gusta", "non mi piace", "não curtir",
    "não curti", "não gosto", "não gostei", "descurtir", "niet leuk", "vind ik niet leuk", "nie lubię", "nie lubię tego", "nelíbí se mi",
    "не нравится", "мне не нравится", "beğenme", "beğenmedim", "ogillar", "gillar inte", "liker ikke", "en tykkää", "nem tetszik", "よくないね",
    "嫌い", "不喜欢", "不喜歡", "踩", "点踩", "讨厌", "싫어요", "싫어함", "không thích", "tidak suka",
)  # fmt: skip
"""Words for a dislike in other languages, in lower case."""

_MORE_WEIGHTS = {
    "see": 1.0, "pv": 1.0, "clk": 1.0, "select": 1.0, "stream": 1.0, "browse": 1.0, "session": 1.0, "add": 2.0, "wish": 2.0,
    "install": 2.0, "book": 3.0, "booking": 3.0, "reserve": 3.0, "reservation": 3.0, "rent": 3.0, "rental": 3.0, "payment": 3.0,
    "paid": 3.0, "sold": 3.0, "subscription": 3.0, "donate": 3.0, "donation": 3.0,
    # Spanish, Portuguese, French, Italian, German, Russian, Chinese and Japanese.
    "vista": 1.0, "visualizacion": 1.0, "visualización": 1.0, "visualização": 1.0, "visualizacao": 1.0, "clic": 1.0, "clique": 1.0, "vue": 1.0,
    "visualizzazione": 1.0, "ansicht": 1.0, "klick": 1.0, "ansehen": 1.0, "просмотр": 1.0, "клик": 1.0, "浏览": 1.0, "点击": 1.0, "閲覧": 1.0,
    "carrito": 2.0, "carrinho": 2.0, "panier": 2.0, "carrello": 2.0, "warenkorb": 2.0, "favorito": 2.0, "favori": 2.0, "merkzettel": 2.0,
    "корзина": 2.0, "加购": 2.0, "收藏": 2.0, "カート": 2.0, "compra": 3.0, "achat": 3.0, "acquisto": 3.0, "kauf": 3.0, "kaufen": 3.0,
    "bestellung": 3.0, "pedido": 3.0, "commande": 3.0, "покупка": 3.0, "заказ": 3.0, "购买": 3.0, "購入": 3.0,
}  # fmt: skip
_WEIGHTS |= {normalize_name(name): weight for weight, names in ((2.0, LIKED), (0.0, DISLIKED)) for name in names}
# Word of a column that has amounts → event type of its rows.
_AMOUNTS = {
    "play": "play", "playcount": "play", "playtime": "play", "hour": "play", "hours": "play", "listen": "play", "stream": "play",
    "scrobble": "play", "watch": "watch", "visit": "visit", "checkin": "visit", "purchase": "purchase", "click": "click", "view": "view",
}  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_A-Za-z]+")
_MIN_PART = 4  # letters of a known word at the end of a word that is written together with others


def name_label(column: str) -> tuple[str, str]:
    """Return the event types of the labels 1 and 0 in a column: whether an item was liked, bought or clicked."""
    plain = normalize_name(column)
    if any(word in plain for word in ("rating", "score", "star", "vote", "recommend", "feedback", "reaction", "thumb")):
        return "like", "dislike"
    if "like" in plain:
        return "like", "impression"
    return ("purchase" if any(word in plain for word in ("purchase", "bought")) else "click"), "impression"


def name_amount(column: str) -> str:
    """Return the event type of rows with an amount: of ``plays`` it is play, of ``count`` or ``weight`` only interaction."""
    words = [word.lower() for word in _WORD.findall(column)]
    stems = (stem for word in words for stem in (word, word.removesuffix("s")))
    return next((_AMOUNTS[stem] for stem in stems if stem in _AMOUNTS), "interaction")


def are_event_types(texts: Sequence[str]) -> bool:
    """Whether different texts are all words for event types, and none says that a purchase was taken back, as a status does."""
    return (
        len({normalize_name(text) for text in texts}) > 1
        and all(_find_weight(text) is not None for text in texts)
        and not any(map(takes_back, texts))
    )


def takes_back(name: str) -> bool:
    """Whether an event type or a status says that a purchase was taken back: ``Cancelled``, ``order_returned``, ``annulée``, ``已取消``."""
    words = re.findall(r"[^\W\d_]+", name.lower())
    return any(word.startswith(each) or (each[0] > "ÿ" and each in word) for word in words for each in _BACK)


def _find_weight(name: str) -> float | None:
    """Return the default weight of an event type by its name, or by the words in it; None where no word is known.

    What takes away (``RemoveShopCart``, ``undislike``, ``order_returned``) has no weight. Otherwise the strongest word counts
    (``AddShopCart``, ``purchase_complete``), but a look at something is only a look (``purchase_page_view``).
    """
    plain = normalize_name(name)
    if plain in _WEIGHTS:
        return _WEIGHTS[plain]
    if takes_back(name):
        return 0.0
    words = [word.lower() for word in _WORD.findall(name)] or [plain]
    found = [weight for word in words for weight in _weigh_word(word)]
    if not found:
        return None
    if 0.0 in found:
        return 0.0
    return (
        1.0
        if words[-1] in {"view", "views", "viewed", "click", "clicks", "clicked"} and "add" not in words
        else max(found)
    )


def _weigh_word(word: str) -> list[float]:
    """Return the weights of the known words in a word: itself, its stem, or what it begins and ends with."""
    known = _WEIGHTS | _MORE_WEIGHTS
    for stem in (word, *_list_stems(word)):
        if stem in _AWAY:
            return [0.0]
        if stem in known:
            return [known[stem]]
        for prefix in ("un", "dis", "de"):
            if stem.startswith(prefix) and stem.removeprefix(prefix) in known:
                return [0.0]
    if any(word.startswith(each) for each in _AWAY if len(each) >= _MIN_PART):
        return [0.0]
    long = [each for each in known if _MIN_PART <= len(each) <= len(word) - 3]
    parts = [each for each in long if word.startswith(each) or word.endswith(each)]
    return [known[each] for each in parts]


def _list_stems(word: str) -> list[str]:
    """Return the word without the endings of plurals and of past and progressive forms."""
    stems = [word.removesuffix("s"), word.removesuffix("es")] if word.endswith("s") else []
    for ending in ("ed", "ing"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            stem = word.removesuffix(ending)
            stems += [stem, f"{stem}e", stem[:-1]]  # clicked, purchasing, skipped
    return stems


def resolve_event_weights(
    names: Sequence[str], given: Mapping[str, float] | None
) -> tuple[dict[str, float], list[str]]:
    """Return the weight of each event type (given, or the default of its name, or 1), and the types without a known name.

    A given event type that the log does not have keeps its weight for later events: see ``find_later_types``.

    Raises SettingError for a negative weight.
    """
    given = given or {}
    weights = {normalize_name(name): float(weight) for name, weight in given.items()}
    for name, weight in weights.items():
        check_at_least(f"The weight of the event type {name!r}", weight, 0)
    defaults = {name: _find_weight(name) for name in names}
    resolved = {
        name: weights.get(normalize_name(name), 1.0 if default is None else default)
        for name, default in defaults.items()
    }
    unknown = [name for name, default in defaults.items() if normalize_name(name) not in weights and default is None]
    return resolved, unknown


def find_later_types(names: Sequence[str], given: Mapping[str, float] | None) -> dict[str, float]:
    """Return the given event types that the log does not have, with their weights, which hold for later events.

    Raises SettingError for one that is no known word and nearly the name of a type without a given weight: it is misspelled.
    """
    given = given or {}
    plain_given = {normalize_name(name) for name in given}
    known = {normalize_name(name): name for name in names}
    free = [plain for plain in known if plain not in plain_given]
    later = {name: float(weight) for name, weight in given.items() if normalize_name(name) not in known}
    for name in later:
        plain = normalize_name(name)
        close = [] if plain in _WEIGHTS else difflib.get_close_matches(plain, free, n=1, cutoff=0.75)
        if close:
            raise SettingError(
                f"event_weights must name event types. Got {name!r}, which the log does not have. "
                f"Did you mean {known[close[0]]!r}? The log has {', '.join(names)}."
            )
    return later
