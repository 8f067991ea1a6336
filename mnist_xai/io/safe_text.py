"""Text from files, made safe to print on a terminal."""

import unicodedata

_MAX_LINE = 400
_MAX_MESSAGE = 900  # Names in a file can have millions of characters.
# Marks that change the direction of writing.
_DIRECTION_MARKS = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


class OneLineError(ValueError):
    """An error about a file; its message is one line that is safe to print.

    Names in files, and the messages of libraries that read them, can hold line breaks and control
    sequences that move the cursor, rename the window or hide what was printed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escape_controls(message[:_MAX_MESSAGE])[:_MAX_MESSAGE])


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Replace every character that acts on a terminal by its escape, such as `\x1b`.

    Args:
        text: Text from outside.
        keep: Characters to leave as they are, for example the line breaks of a table.

    Returns:
        The text without line breaks, control characters, direction marks and unpaired
        surrogates, which no encoding can write.
    """
    return "".join(
        _escape(character) if _is_unsafe(character) and character not in keep else character
        for character in text
    )


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, escaped and shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # The first line only announces the second.
        lines[0] += f" {lines[1]}"
    line = escape_controls(lines[0]) if lines else type(error).__name__
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + " …"


def _is_unsafe(character: str) -> bool:
    control = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
    return control or character in _DIRECTION_MARKS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
