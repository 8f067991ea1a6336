"""Write names, lists and numbers of an audit in the words of its page."""

from collections.abc import Mapping, Sequence

_CONTROLS = {
    "random_map": "a random map",
    "sobel_edges": "Sobel edges",
    "image_itself": "the image itself",
}


def spaced(name: str) -> str:
    """Return the name of a method or metric with spaces: `"lrp_epsilon"` is `"lrp epsilon"`."""
    return name.replace("_", " ")


def capitalised(name: str) -> str:
    """Return the name of a method or metric as the beginning of a sentence."""
    words = spaced(name)
    return words[:1].upper() + words[1:]


def control_name(name: str) -> str:
    """Return the name of a control within a sentence: `"image_itself"` is `"the image itself"`."""
    return _CONTROLS.get(name, spaced(name))


def listing(names: Sequence[str]) -> str:
    """Return the names of methods with spaces, separated by commas."""
    return ", ".join(map(spaced, names))


def listing_with_values(values: Mapping[str, float], form: str) -> str:
    """Return the names of methods with a value each, the largest first: `"gradient (0.95)"`.

    Args:
        values: The value of each method, by name.
        form: Format specification of the values, such as `".2f"`.
    """
    largest_first = sorted(values.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{spaced(name)} ({value:{form}})" for name, value in largest_first)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, plural unless the number is one: `"3 images"`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def rounded(value: float, digits: int = 3) -> str:
    """Return a value with this many significant digits, one below 0.001: `"0.0123"`, `"5e-05"`."""
    return f"{value:.{digits}g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.0e}"


def percent(share: float) -> str:
    """Return a share as per cent, with an exponent where it would read 0.00%."""
    return f"{share:.2%}" if share >= 5e-5 or share == 0 else f"{share * 100:.0e} %"


def four_decimals(value: float | None) -> str:
    """Return a value with four decimals; a dash if there is none."""
    return "–" if value is None else f"{value:.4f}"
