"""Tokenization of text in any script, and stop words of eight languages."""

import functools
import html
import html.entities
import re
import unicodedata

__all__ = ["STOP_WORDS", "strip_markup", "tokenize"]

_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_ENTITY = re.compile(r"&(#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});", re.IGNORECASE)
_TAG_NAMES = """a abbr address area article aside audio b base bdi bdo big blockquote body br button canvas caption center cite code col
    colgroup data dd del details dfn div dl dt em embed fieldset figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header
    hr html i iframe img input ins kbd label legend li link main map mark meta nav noscript object ol option p param picture pre
    q rp rt ruby s samp section select small source span strike strong sub summary sup svg table tbody td template textarea
    tfoot th thead time title tr track tt u ul var video wbr"""
_TAG = re.compile(rf"</?({'|'.join(_TAG_NAMES.split())})(\s[^<>]*)?/?>|<![a-z][^<>]*>", re.IGNORECASE)

# Thai, Lao, Myanmar, Khmer, Japanese kana and Han are written without spaces between words.
_SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)

# Not listed: words of one language that mean something in another, such as the German war, hat and die,
# the French son, sous and c, the Italian come and ai, the Dutch door and van. A term in too many texts
# of a table is dropped anyway, by ``max_share``.
_STOP_WORDS = {
    "English": """a about after all also am an and any are as at be because been before being both but by can could
        did do does doing don each for from had has have having he her hers him his how i if in into is isn it its
        itself just ll me more most my myself no nor not of off on once only or other our ours out over own s same she
        should so some such t than that the their theirs them then there these they this those through to too under
        until up ve very was we were what when where which while who whom why will with would you your yours""",
    "German": """aber als am auch auf aus bei beim bis da damit das dass dein dem der des dich dir doch du durch
        ein eine einem einen einer eines er es für gegen hatte ich ihm ihn ihr ihre im ist jede jeder kein keine
        mein meine mich mir nach nicht noch nur oder ohne sehr seine sich sie sind um und uns unser unter vom von vor
        weil wenn wie wir wird zu zum zur zwischen über""",
    "French": """au aux avec ce ces cette dans de des du elle elles en est et être il ils je l la le les leur
        leurs lui ma mais mes moi mon ne nos notre nous ou où pas qu que quel quelle qui sa sans se ses si
        sont sur ta te tes toi tu un une vos votre vous y à été""",
    "Spanish": """al algo ante aunque con contra cuando de del desde donde e el ella ellas ellos en entre es esa
        ese eso esta este esto está fue ha hasta la las le les lo los me mi mis muy más ni nos o otra otro para
        pero por porque que quien qué se ser si sino sobre su sus sí también te tu tus un una uno y ya yo él""",
    "Italian": """agli al alla alle allo anche che chi ci con cui da dal dalla dei del della delle dello di e ed
        gli ha i il io l la le lei lo loro lui ma mi mia mio nei nel nella noi non o per perché più quella quello
        questa questo se si sono sua sul sulla suo ti tra tu un una uno vi è""",
    "Portuguese": """ao aos as às até com como da das de dela dele do e ela elas ele eles em entre essa esse
        esta este eu foi há isso isto já lhe mais mas me meu minha muito na nas nem no nos não nós o os ou para pela
        pelo por porque qual quando que se sem ser seu sua são também te tem um uma você à é""",
    "Dutch": """aan als bij dan dat de der deze dit een en er ge geen haar had heb hebben heeft het hier hij hoe
        hun ik in is je kan maar me met mij mijn na naar niet nog nu of om onder ons ook op over te tot uit voor
        waar was wat werd wie wij ze zich zij zijn zo zonder""",
    "Russian": """а без был была были было быть в во вот все всё вы где да для до его ее её если есть еще ещё же за и
        из или им их к как когда который ли меня мне мы на над не него нет ни но ну о об он она они оно от по под при
        с со так такой там то тоже только ты у уже что чтобы это этот я""",
}

STOP_WORDS = frozenset(word for words in _STOP_WORDS.values() for word in words.split())


def tokenize(text: str, ngrams: int = 1, without: frozenset[str] = frozenset()) -> list[str]:
    """Split a text into lower-case tokens, in order, followed by its n-grams of 2 … ``ngrams`` tokens.

    Tokens of ``without`` are dropped, unless the text has no other: "It" is a title.

    A token is a word (letters, their combining marks, digits). A run of a script without spaces between words gives
    its overlapping pairs of characters instead, as in search engines. O(length).
    """
    found: list[str] = []
    for run in _pattern().finditer(unicodedata.normalize("NFKC", text).casefold()):
        spaceless, word = run.groups()
        if word:
            found.append(word)
        elif len(spaceless) == 1:
            found.append(spaceless)
        else:
            found += [spaceless[at : at + 2] for at in range(len(spaceless) - 1)]
    found = [each for each in found if each not in without] or found
    words = len(found)
    for n in range(2, ngrams + 1):
        found += [" ".join(found[at : at + n]) for at in range(words - n + 1)]
    return found


def strip_markup(text: str) -> str:
    """Return the text that HTML shows: without tags and comments, with entities decoded. Plain text stays as it is.

    ``a < b``, ``<3``, ``List<Item>`` and ``R&B`` are not markup: tags and entities must have a name that HTML defines, and
    an entity ends with ";". O(length).
    """
    if "<" not in text and "&" not in text:
        return text
    plain = _decode_entities(_TAG.sub(" ", _HIDDEN.sub(" ", text)))
    # Feeds often escape their markup as well: &lt;p&gt; is a tag, and &amp;nbsp; an entity.
    plain = _decode_entities(_TAG.sub(" ", plain))
    return plain if plain == text else " ".join(plain.split())


def _decode_entities(text: str) -> str:
    def decode(match: re.Match[str]) -> str:
        name = match[1]
        return html.unescape(match[0]) if name.startswith("#") else html.entities.html5.get(f"{name};", match[0])

    return _ENTITY.sub(decode, text)


@functools.cache
def _pattern() -> re.Pattern[str]:
    # \w of the standard library leaves out combining marks, so it would split words of Hindi or Tamil.
    spaceless = re.compile(f"[{_SPACELESS}]")
    points = map(chr, range(0x300, 0x10000))
    marks = "".join(c for c in points if unicodedata.category(c)[0] == "M" and not spaceless.match(c))
    return re.compile(f"([{_SPACELESS}]+)|((?:[^\\W_{_SPACELESS}]|[{marks}])+)")
