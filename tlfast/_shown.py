"""Text of unknown origin in messages and on terminals: nothing hidden in it, and not too long.

Names in model files are whatever their author wanted: escape sequences that rewrite a terminal,
marks that turn the direction of the text around, a megabyte of one letter.
"""

import re

# Control characters, line and paragraph separators, marks of direction, invisible characters and
# halves of surrogate pairs. Not the joiners U+200C and U+200D, which scripts and emoji need.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)


MAX_NAME = 1024


def is_name(text: str) -> bool:
    """Return whether a text may be the name of a layer: nothing hidden, not endless."""
    return len(text) <= MAX_NAME and _HIDDEN.search(text) is None


def shown(text: object, limit: int = 200) -> str:
    r"""Return a text as it may be shown: hidden characters as `\x1b`, the middle of long ones cut.

    Args:
        text: a text, or anything that `str` makes one of.
        limit: number of characters of the text from which on it is cut.
    """
    found = str(text)
    if len(found) > limit:
        tail = limit // 4
        cut = len(found) - limit
        found = f"{found[: limit - tail]}[... {cut} characters ...]{found[-tail:]}"
    return _HIDDEN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), found)
