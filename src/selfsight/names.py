r"""Names: what files and classes are called, so that it can be shown and written anywhere.

A file's name is any bytes but two. Bytes that are no UTF-8, line breaks, control characters and
those that turn the direction of writing would break a sentence, a table, a Parquet file, or what
the terminal shows; they are written as `\xe9` (a byte), `\n` or `\u202e`. Backslashes are doubled
in names that have such, so that different names stay different and each can be told again.
"""

import re
import unicodedata

# Category of characters: control, format, surrogate, line and paragraph separators.
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # of letters, in Persian and Hindi names, and of faces
FIRST_BYTE, LAST_BYTE = 0xDC80, 0xDCFF  # how Python holds bytes that are no UTF-8 (PEP 383)
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|n|\\)")


def shown(name: str) -> str:
    r"""Write a name so that it can be shown and written anywhere.

    >>> shown("cat/1.png")
    'cat/1.png'
    >>> print(shown(b"caf\xe9\n.png".decode("utf-8", "surrogateescape")))
    caf\xe9\n.png
    >>> print(shown("C:\\photos"), shown("C:\\new"), shown("a\\b\n"))
    C:\photos C:\\new a\\b\n
    """
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    if not any(map(_is_unshown, name)) and not ESCAPE.search(name):
        return name
    return "".join(map(_escaped, name))


def told(text: str) -> str:
    """Write a sentence so that it can be shown anywhere; its own line breaks stay."""
    return "\n".join(
        "".join(_escaped(c) if _is_unshown(c) else c for c in line) for line in text.split("\n")
    )


def _is_unshown(character: str) -> bool:
    return unicodedata.category(character) in UNSHOWN and character not in JOINERS


def _escaped(character: str) -> str:
    """Write a character of a name that has some which cannot be shown."""
    if character == "\\":
        return "\\\\"
    if not _is_unshown(character):
        return character
    number = ord(character)
    if FIRST_BYTE <= number <= LAST_BYTE:
        return f"\\x{number & 0xFF:02x}"
    if character == "\n":
        return "\\n"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
