"""Text from files, made harmless to a terminal."""

import unicodedata

_LONGEST = 400
_LONGEST_MESSAGE = 900  # Names in a file can have millions of characters.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class OneLineError(ValueError):
    """Something is wrong with a file; the message is one line that a terminal can show.

    Names in files, and the complaints of the libraries that read them, can hold line breaks
    and the control sequences that move a cursor, rename a window or hide what was printed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message[:_LONGEST_MESSAGE])[:_LONGEST_MESSAGE])


def printable(text: str, *, keep: str = "") -> str:
    """Write every character that would act on a terminal as its escape.

    Args:
        text: What came from outside.
        keep: Characters that are meant, as the line breaks of a table.

    Returns:
        The text in one line, without control characters, marks that turn the direction of
        writing, and halves of characters that no encoding can write.
    """
    return "".join(
        character if character in keep or not _acts(character) else _escaped(character)
        for character in text
    )


def first_line(error: BaseException) -> str:
    """What a library complained of, in its first line and not at any length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # It only announces the next.
        lines[0] += f" {lines[1]}"
    line = printable(lines[0]) if lines else type(error).__name__
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " …"


def _acts(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _DIRECTIONS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
