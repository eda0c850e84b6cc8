r"""Escaping: names and sentences without unprintable characters, safe to print and to write.

A file's name may hold any bytes but two. Bytes that are not UTF-8, line breaks, control characters
and characters that turn the direction of writing would break a sentence, a table, a Parquet file or
the terminal; they are written as `\xe9` (a byte), `\n` or `\u202e`. In such names backslashes are
doubled, so that different names stay different and each can be recovered.

Everything that is shown or printed goes through here: sentences through `printable` (every console
of `progress`, error messages, remarks of libraries), names that must stay distinct through
`escaped`, words of a command through `shell_quoted`.
"""

import re
import shlex
import unicodedata

# Category of characters: control, format, surrogate, line and paragraph separators.
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # join letters of Persian and Hindi names, and parts of emoji
FIRST_BYTE, LAST_BYTE = 0xDC80, 0xDCFF  # how Python holds bytes that are not UTF-8 (PEP 383)
ENDS = 100  # characters kept at either end of an overlong word
LONG_WORD = re.compile(r"\S{4097,}")  # longer than any path on Linux
OWN_BREAK = re.compile(r"\n(?=  )")  # a line break of the sentence, not of a name in it
ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|n|\\)")


def escaped(name: str) -> str:
    r"""Escape a name so that it can be shown and written anywhere, and stays distinct.

    >>> escaped("cat/1.png")
    'cat/1.png'
    >>> print(escaped(b"caf\xe9\n.png".decode("utf-8", "surrogateescape")))
    caf\xe9\n.png
    >>> print(escaped("C:\\photos"), escaped("C:\\new"), escaped("a\\b\n"))
    C:\photos C:\\new a\\b\n
    """
    if name.isascii() and name.isprintable() and "\\" not in name:
        return name
    if not any(map(_is_unshown, name)) and not ESCAPE.search(name):
        return name
    return "".join(map(_escaped, name))


def printable(text: str) -> str:
    r"""Escape the unprintable characters of a sentence so that it can be shown anywhere.

    Line breaks followed by two spaces belong to the sentence and stay; any other belongs to a name
    or message in it and is escaped, so that no name can begin a line that looks like ours. A word
    longer than any path keeps only its two ends.

    >>> print(printable("left out:\n  a.png\nselfsight: done"))
    left out:
      a.png\nselfsight: done
    """
    text = LONG_WORD.sub(_cut, text)
    if text.isascii() and text.isprintable():
        return text
    lines = OWN_BREAK.split(text)
    return "\n".join("".join(_escaped(c) if _is_unshown(c) else c for c in line) for line in lines)


def _cut(word: re.Match[str]) -> str:
    left_out = len(word[0]) - 2 * ENDS
    return f"{word[0][:ENDS]}[{left_out:,} more characters]{word[0][-ENDS:]}"


def shell_quoted(word: object) -> str:
    r"""Quote a word of a command so that a shell reads it as meant and a terminal can show it.

    Unprintable characters are written byte by byte, as bash, zsh and POSIX 2024 shells read them.

    >>> print(*map(shell_quoted, ("a.png", "my photos", "$(rm x)", "a\x1b[1m'b")))
    a.png 'my photos' '$(rm x)' $'a\x1b[1m\'b'
    """
    text = str(word)
    if not any(map(_is_unshown, text)):
        return shlex.quote(text)
    return f"$'{''.join(map(_in_bytes, text))}'"


def _in_bytes(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if not _is_unshown(character):
        return character
    is_byte = FIRST_BYTE <= ord(character) <= LAST_BYTE
    spelt = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in spelt)


def _is_unshown(character: str) -> bool:
    return unicodedata.category(character) in UNSHOWN and character not in JOINERS


def _escaped(character: str) -> str:
    """Escape one character of a name that holds unprintable ones."""
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
