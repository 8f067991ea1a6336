"""Write docs/methods.md from the registry and the docstrings, and a picture of every method.

python docs/build_methods.py            writes the text; with MNIST, the pictures too
python docs/build_methods.py --check    fails if the text is out of date
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from page_text import table, write_or_check

import mnist_xai as mx
from mnist_xai.interpret import (
    METHODS,
    Method,
    Network,
    activation_maximization,
    attention_map,
    feature_inversion,
    gradient_map,
    internal_influence,
    layer_conductance,
    layer_outputs,
    learned_attention,
    neuron_gradient,
    project_feature_map,
    receptive_field,
)
from mnist_xai.interpret.methods import docstrings
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

This page says for each method what it computes, what it promises, what it costs, and when it
misleads. Choose a method by its name, `mx.explain(model, images, method="gradcam")`, or set its
hyper-parameters, `mx.explain(model, images, method=mx.interpret.RISE(samples=4000))`. On the
command line: `mnist-xai explain saved_models/cnn.keras --index 0 --method gradcam`.

`S_c` is the score of the class `c`: its logit, or its probability if you ask for it. `x` is the
image, `x'` a baseline image, and `⊙` the element-wise product. A method can promise:

- **complete**: a map sums to `S_c(x) - S_c(x')`.
- **accounted**: a map sums to `S_c(x)` together with the parts that the method names as absorbed
  on the way, such as biases. `explain` returns what is missing from either sum.
- **signed**: negative values are evidence against the class. **Unsigned** maps show no such
  evidence.
- **per pixel**: one value for each pixel in each channel. **Per place**: one value for all channels
  of a pixel, often the same for a whole patch.
- **blind to the class**: every class gets the same map. All other methods depend on the class.

The cost is the number of passes through the case study's `cnn` for each image. A forward pass runs
the network once; a gradient pass runs it forward and back.
"""

PICTURED = f"""\
All pictures show the same two digits (MNIST test images {DIGITS[0]} and {DIGITS[1]}), explained
with `saved_models/cnn.keras` and the method's defaults, for the logit of the predicted class. White
is zero. Red is positive, and for most methods means that the pixel raises the score; blue is
negative. Both maps of a picture share one scale.
"""

FUNCTIONS_HEAD = """\
## Layers, neurons, and images made by the network

These functions do not explain a decision as a whole. They show what a layer or a unit does with an
image, or make an image that shows what it responds to. Call them as `mx.NAME(...)`.
"""


def page() -> str:
    """Return the whole text."""
    network = Network(mx.build_model("cnn"))
    rows = [_row(name, method, network) for name, method in METHODS.items()]
    overview = table(("method", "family", "promises", "cost per image"), rows)
    parts = [HEAD, f"{len(METHODS)} methods:\n", overview, PICTURED, "## Attribution methods\n"]
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
    promised = ", ".join(docstrings.promises(method))
    return f"[{name}](#{name})", method.about.family, promised, docstrings.cost(method, network)


def _section(name: str, method: Method, network: Network) -> str:
    about = method.about
    kind = type(method).__name__
    lines = [
        f"### {name}\n",
        f"`mx.interpret.{kind}` · {about.family} · {docstrings.cost(method, network)} · "
        f"{', '.join(docstrings.promises(method))}\n",
        docstrings.definition(method) + "\n",
        f"![Maps of {name} for a seven and a three](images/methods/{name}.png)\n",
        f"- **Shows** {about.shows}.",
        f"- **Caveat:** {about.caveat}.",
        f"- **Returns** {docstrings.returned(method)}",
        f"- **Reference:** {about.reference}.\n",
    ]
    parameters = docstrings.parameters(method)
    if parameters:
        rows = [(f"`{p.name}`", f"`{p.value}`", p.meaning) for p in parameters]
        lines.append(table(("hyper-parameter", "default", "meaning"), rows))
    return "\n".join(lines)


def _function(function: Callable[..., Any]) -> str:
    parts = docstrings.parts_of(function)
    lines = [
        f"### {function.__name__}\n",
        f"`mx.{function.__name__}({', '.join(inspect.signature(function).parameters)})`\n",
        parts[""] + "\n",
        f"- **Returns** {' '.join(parts['Returns'].split())}",
        f"- **Source:** {' '.join(parts['Source'].split())}\n",
    ]
    return "\n".join(lines)


def main() -> int:
    """Write, or check."""
    does = "Write docs/methods.md and the pictures, or check the text."
    checked = write_or_check(PAGE, page, "docs/build_methods.py", does)
    if checked is not None:
        return checked
    try:
        draw()
    except mx.DataUnavailableError as error:
        sys.stderr.write(f"Wrote the text, but not the pictures: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
