"""What a text does to the terminal that shows it, by Unicode's own account."""

import unicodedata


def is_harmless_line(text):
    """Whether a text is one line without controls, halves of characters and turns of direction."""
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        or unicodedata.bidirectional(character) in turns
        for character in text
    )
