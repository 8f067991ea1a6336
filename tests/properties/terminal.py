"""Whether text is safe on a terminal, according to Unicode's character properties."""

import unicodedata


def is_harmless_line(text):
    """Return whether text is one line without controls, surrogates and direction marks."""
    direction_marks = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in direction_marks
        for character in text
    )
