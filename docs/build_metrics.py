"""Write docs/metrics.md from the registry of metrics and their docstrings.

python docs/build_metrics.py            writes the text
python docs/build_metrics.py --check    fails if the text is out of date
"""

import sys
from itertools import groupby
from pathlib import Path

from page_text import table, write_or_check

from mnist_xai.interpret.methods import docstrings
from mnist_xai.quality import CONTROLS, METRICS, Metric, MetricAbout

PAGE = Path(__file__).parent / "metrics.md"

HEAD = """\
# Metrics

<!-- Written by docs/build_metrics.py from the registry and the docstrings. Do not edit. -->

This page says for each metric what it measures, which direction is better, what it needs, and when
its score misleads. A metric scores every image of a batch:

```python
network = mx.Network(model)
batch = mx.quality.ExplainedBatch.of(network, images, mx.METHODS["gradient"])
scores = mx.quality.METRICS["pixel_flipping"](batch)
scores.mean, scores.interval(), scores.refused
```

`scores.values` holds one score for each image, and NaN where there is none; `scores.refused` says
why. `mx.audit` runs all metrics on all methods and writes one page.

`R` is the map, `S_c(x)` the score of the class `c` for the image `x`. "Needs" says what a metric
looks at besides the maps: nothing (*maps*), the *network*, the *method*, which it runs again, or
*masks* that mark where the evidence lies.

No score proves that an explanation is right. Compare a method with the controls, which never look
at the network: {controls}. If a method scores no better than a control, this metric is no evidence
that the method explains the network.
"""

TITLES = {"axiom": "Axioms"}
FAMILIES = {
    "faithfulness": "Does the score change when the pixels that the map calls relevant change?",
    "robustness": "Do similar images get similar maps?",
    "randomisation": "Does the map change when the network forgets what it learned, or when "
    "another class is explained?",
    "complexity": "How few places does the map need?",
    "localisation": "Does the relevance lie where the evidence is known to lie?",
    "axiom": "Does the method keep the properties that it should have?",
}


DIRECTION = {True: "higher is better", False: "lower is better", None: "neither is better"}


def page() -> str:
    """Return the whole text."""
    rows = [_row(name, metric.about) for name, metric in METRICS.items()]
    head = HEAD.format(controls=", ".join(f"`{name}`" for name in CONTROLS))
    parts = [head, f"{len(METRICS)} metrics:\n"]
    parts.append(table(("metric", "family", "better", "needs", "range"), rows))
    for family, items in groupby(METRICS.items(), lambda item: item[1].about.family):
        parts.append(f"## {TITLES.get(family, family.capitalize())}\n\n{FAMILIES[family]}\n")
        parts += [_section(name, metric) for name, metric in items]
    return "\n".join(parts)


def _row(name: str, about: MetricAbout) -> tuple[str, ...]:
    better = DIRECTION[about.higher_is_better].split()[0]
    return f"[{name}](#{name})", about.family, better, about.needs, _range(about)


def _section(name: str, metric: Metric) -> str:
    about = metric.about
    lines = [
        f"### {name}\n",
        f"`mx.quality.{type(metric).__name__}` · {about.family} · "
        f"{DIRECTION[about.higher_is_better]} · needs {about.needs} · range {_range(about)}\n",
        docstrings.parts_of(type(metric))[""] + "\n",
        f"- **Shows** {about.shows}.",
        f"- **Caveat:** {about.caveat}.",
        f"- **Reference:** {about.reference}.\n",
    ]
    parameters = docstrings.parameters(metric)
    if parameters:
        rows = [(f"`{p.name}`", f"`{p.value}`", p.meaning) for p in parameters]
        lines.append(table(("hyper-parameter", "default", "meaning"), rows))
    return "\n".join(lines)


def _range(about: MetricAbout) -> str:
    """Return the least and the greatest score, such as `0 to 1`."""
    low, high = (f"{end:g}".replace("inf", "∞").replace("-", "−") for end in about.range)
    return f"{low} to {high}"


def main() -> int:
    """Write, or check."""
    does = "Write docs/metrics.md, or check it."
    return write_or_check(PAGE, page, "docs/build_metrics.py", does) or 0


if __name__ == "__main__":
    sys.exit(main())
