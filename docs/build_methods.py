"""Write docs/methods.md from the registry and the docstrings, and a picture of every method.

python docs/build_methods.py            writes the text, and the pictures where there is MNIST
python docs/build_methods.py --check    fails when the text is not what would be written
"""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mnist_xai as mx
from mnist_xai.interpret import (
    METHODS,
    Method,
    Network,
    activation_maximization,
    attention_map,
    feature_inversion,
    gradient_map,
    guide,
    internal_influence,
    layer_conductance,
    layer_outputs,
    learned_attention,
    neuron_gradient,
    project_feature_map,
    receptive_field,
)
from mnist_xai.plots import signed_maps
from mnist_xai.report import png

HERE = Path(__file__).parent
PAGE, PICTURES = HERE / "methods.md", HERE / "images" / "methods"
MODEL = HERE.parent / "saved_models" / "cnn.keras"
DIGITS = (0, 18)  # Test images: a seven, and a three that is nearly an eight.

FUNCTIONS: tuple[Callable[..., Any], ...] = (
    layer_outputs,
    attention_map,
    learned_attention,
    gradient_map,
    neuron_gradient,
    layer_conductance,
    internal_influence,
    receptive_field,
    project_feature_map,
    activation_maximization,
    feature_inversion,
)

HEAD = """\
# Methods

<!-- Written by docs/build_methods.py from the registry and the docstrings. Do not edit. -->

What each method computes, what it promises, what it costs, and when it misleads. In Python
`mx.explain(model, images, "gradcam")` takes a name from the first column, or a method with
hyper-parameters of your own: `mx.explain(model, images, mx.interpret.RISE(samples=4000))`. On the
command line it is `mnist-xai explain saved_models/cnn.keras --index 0 --method gradcam`.

`S_c` is the score of the class `c`: its logit, or its probability if that is asked for. `x` is the
image, `x'` a baseline, `⊙` the product number by number. The promises:

- **complete**: a map sums to `S_c(x) - S_c(x')`; **accounted**: it sums to `S_c(x)` together with
  what the method names as lost on the way. `explain` returns what is missing of either.
- **signed**: below zero is evidence against the class; **unsigned**: there is no such evidence.
- **per pixel**: a value for each pixel in each channel; **per place**: one for all channels of a
  pixel, often the same for a whole patch.
- **blind to the class**: another class gives the same map. All others depend on the class.

The cost is the number of runs through the case study's `cnn` for each image: forward alone, or
forward and back for a gradient.
"""

PICTURED = f"""\
All pictures are of the same two digits (MNIST's test images {DIGITS[0]} and {DIGITS[1]}) with
`saved_models/cnn.keras` and the method's defaults, explaining the predicted class's logit. White
is zero; red is above, which for most methods raises the score, and blue below. Both maps of a
picture share one scale.
"""

FUNCTIONS_HEAD = """\
## Layers, neurons, and images made by the network

These functions explain no decision as a whole. They show what a layer or a unit does with an image,
or make an image that shows what it looks for. All are called as `mx.NAME(...)`.
"""


def page() -> str:
    """The whole text."""
    network = Network(mx.build_model("cnn"))
    rows = [_row(name, method, network) for name, method in METHODS.items()]
    table = _table(("method", "family", "promises", "cost for an image"), rows)
    parts = [HEAD, f"{len(METHODS)} methods:\n", table, PICTURED, "## Attribution methods\n"]
    parts += [_section(name, method, network) for name, method in METHODS.items()]
    parts += [FUNCTIONS_HEAD, *map(_function, FUNCTIONS)]
    return "\n".join(parts)


def draw(images: Path = PICTURES) -> None:
    """Write one picture for each method.

    Raises:
        DataUnavailableError: Without MNIST.
    """
    x = mx.normalise(mx.load_data("mnist").test_images[list(DIGITS)])
    network = Network(mx.load_model(MODEL))
    images.mkdir(parents=True, exist_ok=True)
    for name in METHODS:
        found = mx.explain(network, x, method=name)
        titles = [
            f"class {c}, S = {s:.2f}" for c, s in zip(found.targets, found.scores, strict=True)
        ]
        (images / f"{name}.png").write_bytes(png(signed_maps(x, found.maps, titles, name)))


def _row(name: str, method: Method, network: Network) -> tuple[str, ...]:
    promised = ", ".join(guide.promises(method))
    return f"[{name}](#{name})", method.about.family, promised, guide.cost(method, network)


def _section(name: str, method: Method, network: Network) -> str:
    about = method.about
    kind = type(method).__name__
    lines = [
        f"### {name}\n",
        f"`mx.interpret.{kind}` · {about.family} · {guide.cost(method, network)} · "
        f"{', '.join(guide.promises(method))}\n",
        guide.definition(method) + "\n",
        f"![Maps of {name} for a seven and a three](images/methods/{name}.png)\n",
        f"- **Shows** {about.shows}.",
        f"- **Misleads:** {about.caveat}.",
        f"- **Returns** {guide.returned(method)}",
        f"- **Reference:** {about.reference}.\n",
    ]
    parameters = guide.parameters(method)
    if parameters:
        rows = [(f"`{p.name}`", f"`{p.value}`", p.meaning) for p in parameters]
        lines.append(_table(("hyper-parameter", "default", "meaning"), rows))
    return "\n".join(lines)


def _function(function: Callable[..., Any]) -> str:
    parts = guide.parts_of(function)
    lines = [
        f"### {function.__name__}\n",
        f"`mx.{function.__name__}({', '.join(inspect.signature(function).parameters)})`\n",
        parts[""] + "\n",
        f"- **Returns** {' '.join(parts['Returns'].split())}",
        f"- **Source:** {' '.join(parts['Source'].split())}\n",
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    # A bar ends a cell, even within code.
    cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
    return "".join(f"| {line} |\n" for line in cells)


def main() -> int:
    """Write, or check."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare the text, write nothing")
    arguments = parser.parse_args()
    text = page()
    if arguments.check:
        stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
        if stale:
            sys.stderr.write(f"{PAGE}: stale; python docs/build_methods.py writes it anew\n")
        return int(stale)
    PAGE.write_text(text, encoding="utf-8")
    try:
        draw()
    except mx.DataUnavailableError as error:
        sys.stderr.write(f"The text is written; the pictures are left as they were: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
