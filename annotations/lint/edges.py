"""Whether a stretch of text begins and ends where a name does. It knows characters and scripts, not labels.

Scripts: https://www.unicode.org/reports/tr24/; general categories: https://www.unicode.org/reports/tr44/.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from annotations.sentences import sentences

# Scripts written without spaces between words, and Korean, which writes particles onto the name.
_JOINED = (
    "\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf"
    "\u3005-\u3007\u3031-\u3035\u303b\u3041-\u318f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf"
    "\ua980-\ua9df\ua9e0-\ua9ff\uaa00-\uaa7f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff"
)
TOKEN = re.compile(rf"[{_JOINED}]|[^\W{_JOINED}]+|[^\w\s]")
_JOINED_LETTER = re.compile(f"[{_JOINED}]")
_INVISIBLE = "\u200b\u2060\ufeff"
_CLOSERS = "\"'”’»›)]}」』】）〉》"
_BRACKETS = dict(zip("([{“‘«‹„‚「『【（〈《", ")]}”’»›“‘」』】）〉》", strict=True)) | {
    "”": "”",
    "’": "’",
    '"': '"',
    "'": "'",
}
_BRACKETS_BACK = {
    closing: [o for o, c in _BRACKETS.items() if c == closing] for closing in dict.fromkeys(_BRACKETS.values())
}
# Punctuation that belongs to what stands beside it: handles, hashtags, percentages, Hebrew and Tibetan word signs.
_LEADING = "@#_"
_APOSTROPHES = "'‘’"
_TRAILING = "%‰_׳״་"
_TITLES = (
    "adm assn ave bros capt cf cmdr co col corp cpl dept dr etc fr ft gen gov hon inc jr lt ltd maj messrs mr mrs ms mt "
    "mts no nos ph pp prof pvt rep reps rev sen sens sgt sr ssgt st ste univ vs "
    "assoc blvd bldg dist fac ind intl natl "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun "
    "ala ariz ark calif colo conn del fla ga ill kan ky la mass md mich minn miss mo mont neb nev okla ore pa tenn tex "
    "va vt wash wis wisc wyo"
)
_ABBREVIATIONS = frozenset(_TITLES.split())


def is_space(letter: str) -> bool:
    """Whether nothing of a character is seen, be it called white space or not."""
    return letter.isspace() or letter in _INVISIBLE


def mid_word(text: str, offset: int) -> bool:
    """Whether an edge at this offset cuts a word: letters, digits or combining marks on both of its sides.

    Never so beside scripts that do not separate words by spaces.
    """
    if not 0 < offset < len(text):
        return False
    return _is_word(text[offset - 1]) and _is_word(text[offset])


@lru_cache(maxsize=4096)
def _is_word(letter: str) -> bool:
    """Whether it is part of a word that spaces set off."""
    known = letter.isalnum() or unicodedata.category(letter).startswith("M")
    return known and not _JOINED_LETTER.match(letter)


def edge_punctuation(text: str, start: int, end: int) -> str:
    """The punctuation at the edges of `text[start:end]` that is no part of a name, as a quote; empty where there is none.

    A dot that ends an abbreviation, a bracket or quotation mark whose partner lies inside, an apostrophe that stands for
    a letter or for digits, and the signs of handles and hashtags belong to the name.
    """
    piece = text[start:end]
    if not piece or not any(map(str.isalnum, piece)):
        return piece if piece and all(map(_is_punctuation, piece)) else ""
    if partner(piece, 0) == len(piece) - 1:
        return f"{piece[0]}…{piece[-1]}"
    if not _is_punctuation(piece[0]) and not _is_punctuation(piece[-1]):
        return ""
    rest = text[end : _sentence_end(text, end)]
    if _leading(piece, rest):
        return piece[0]
    return piece[-1] if _trailing(piece, rest) else ""


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P")


def _leading(piece: str, rest: str) -> bool:
    first, second = piece[0], piece[1:2]
    if not _is_punctuation(first) or first in _LEADING or partner(piece, 0) is not None:
        return False
    if first in _APOSTROPHES and partner(piece + rest, 0) is None:
        return False
    return not (first == "." and second.isalnum())


def _trailing(piece: str, rest: str) -> bool:
    last = piece[-1]
    if not _is_punctuation(last) or last in _TRAILING or _opened(piece):
        return False
    if last not in ".!?" or piece.endswith(("..", "?!", "!!", "??")):
        return True
    if last == "." and _is_abbreviation(piece):
        return False
    # A sentence that goes on shows that the mark belongs to the name.
    return not rest.strip(_CLOSERS + " \t")


def partner(piece: str, opening: int) -> int | None:
    """Where the bracket or quotation mark at `opening` is closed, counting nested ones; None where it is not."""
    first = piece[opening]
    closing = _BRACKETS.get(first)
    if closing is None:
        return None
    depth = 0
    for place in range(opening, len(piece)):
        letter = piece[place]
        if letter == closing and place > opening and not (letter in "'’" and _inside_word(piece, place)):
            depth -= 1
        elif letter == first:
            depth += 1
        if depth == 0:
            return place
    return None


def _inside_word(piece: str, place: int) -> bool:
    return piece[place - 1].isalnum() and piece[place + 1 : place + 2].isalnum()


def _opened(piece: str) -> bool:
    """Whether the last character closes what was opened inside the piece."""
    openings = _BRACKETS_BACK.get(piece[-1], [])
    last = len(piece) - 1
    return any(piece[place] in openings and partner(piece, place) == last for place in range(last))


def _is_abbreviation(piece: str) -> bool:
    word = re.split(r"[\s\-–/(]", piece[:-1].rstrip())[-1]
    return "." in word or len(word) == 1 or word.casefold() in _ABBREVIATIONS


def _sentence_end(text: str, offset: int) -> int:
    """Where the sentence ends that holds the character before `offset`; `offset` itself where none does."""
    return next((sentence.end for sentence in sentences(text) if sentence.end >= offset), offset)
