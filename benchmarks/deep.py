"""Compare time and memory on deep networks at 224 x 224 pixels with other libraries.

    python benchmarks/deep.py --torch-python PATH --xplique-python PATH --models resnet50

Every measurement is a process of its own that builds the model, explains one image, and then the
same images several times. All contestants get the same random weights, images and targets. In each
round every contestant has one turn, one after the other, so that other work of the machine slows
all of them. Numbers are medians over the rounds:

- first: seconds from the start of the process to the first map of one image, imports included;
- steady: seconds an image after that, in batches of `--batch` images for the methods of few passes
  and of one image for the others;
- processor: seconds of all cores together for the same, which other work of the machine hardly
  changes;
- peak: largest resident memory of the process in GiB.

| contestant | what it is |
| - | - |
| ours | `mx.explain` with its defaults, but the steps, samples and windows below |
| plain | `tf.function`s over the Keras model: the passes of the definition and no more |
| xplique | Xplique, batch size 16 |
| tf_keras_vis | tf-keras-vis |
| captum, zennit | on a PyTorch twin of ResNet50; on Keras's torch backend for other networks |

Integrated gradients take 50 steps, SmoothGrad 50 copies with sigma 0.15, occlusion windows of 32
pixels every 16, LIME and KernelSHAP a grid of 7 x 7. RISE, LIME and KernelSHAP take `--masks`
masks: their time is proportional to it. Maps are compared with ours as a cosine; it is below 1 for
methods that draw samples and for methods that a peer defines differently.

A light run: `--models mobilenet_v2 --methods gradient gradcam --repeats 1 --masks 32`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEERS = Path(__file__).with_name("peers")
ROOT = PEERS.parents[1]
MODELS = ("resnet50", "mobilenet_v2", "efficientnet_b0", "vit")
FEW_PASSES = ("gradient", "gradcam", "gradcam_plus_plus", "lrp_epsilon", "epsilon_plus_flat",
              "deeplift_rescale")  # fmt: skip
METHODS = (*FEW_PASSES, "integrated_gradients", "smoothgrad", "occlusion", "rise", "lime",
           "kernel_shap")  # fmt: skip

TENSORFLOW = set(METHODS) - {"lrp_epsilon", "epsilon_plus_flat", "deeplift_rescale"}
CONTESTANTS: dict[str, tuple[str, set[str]]] = {
    "ours": ("deep_ours.py", set(METHODS)),
    "plain": (
        "deep_plain.py",
        {"gradient", "integrated_gradients", "smoothgrad", "gradcam", "gradcam_plus_plus"},
    ),
    "xplique": ("deep_xplique.py", TENSORFLOW),
    "tf_keras_vis": (
        "deep_tf_keras_vis.py",
        {"gradient", "smoothgrad", "gradcam", "gradcam_plus_plus"},
    ),
    "captum": (
        "deep_torch.py",
        set(METHODS) - {"gradcam_plus_plus", "lrp_epsilon", "epsilon_plus_flat", "rise"},
    ),
    "zennit": ("deep_torch.py", {"lrp_epsilon", "epsilon_plus_flat"}),
}
"""Script and methods of each contestant."""


def write_inputs(folder: Path, name: str, images: int) -> Path:
    """Write images, targets and random weights of one model, for all contestants."""
    path = folder / f"{name}.npz"
    code = (
        "import sys, numpy as np, keras\n"
        "from deep_models import MODELS, WHITE, CAM_LAYERS\n"
        "name, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "keras.utils.set_random_seed(0)\n"
        "model = MODELS[name]()\n"
        "weights = model.get_weights()\n"
        "rng = np.random.default_rng(0)\n"
        "x = rng.random((count, 28, 28, 3)).repeat(8, 1).repeat(8, 2).astype('f') * WHITE[name]\n"
        "targets = np.concatenate([model(one[None]) for one in x]).argmax(1).astype('i')\n"
        "np.savez(path, images=x, targets=targets, weights=len(weights),\n"
        "         scale=WHITE[name], layer=str(CAM_LAYERS[name] or ''),\n"
        "         **{f'w{i}': w for i, w in enumerate(weights)})\n"
    )
    environment = os.environ | {"PYTHONPATH": str(PEERS), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, name, str(path), str(images)]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    return path


def possible(contestant: str, model: str, method: str) -> bool:
    """Return whether a contestant has a method for a model."""
    if model == "vit" and method in ("gradcam", "gradcam_plus_plus", "lrp_epsilon",
                                     "epsilon_plus_flat", "deeplift_rescale"):  # fmt: skip
        return contestant == "ours" and "gradcam" not in method
    torch_twin = method in ("gradcam", "deeplift_rescale", "lrp_epsilon", "epsilon_plus_flat")
    if CONTESTANTS[contestant][0] == "deep_torch.py" and torch_twin and model != "resnet50":
        return False  # These need modules of PyTorch.
    return method in CONTESTANTS[contestant][1]


def measure(options: argparse.Namespace, contestant: str, inputs: Path, method: str) -> dict:
    """Run one contestant once in a process of its own; return what it measured."""
    with np.load(inputs) as file:
        scale, layer = float(file["scale"]), str(file["layer"])
    python = {
        "xplique": options.xplique_python,
        "captum": options.torch_python,
        "zennit": options.torch_python,
    }.get(contestant, sys.executable)
    job = {
        "contestant": contestant,
        "model": inputs.stem,
        "method": method,
        "inputs": str(inputs),
        "maps": str(inputs.with_name(f"{inputs.stem}-{method}-{contestant}.npy")),
        "masks": options.masks,
        "batch": options.batch if method in FEW_PASSES else 1,
        "repeats": 5 if method in FEW_PASSES else 1,
        "scale": scale,
        "layer": layer,
        "started": time.time(),
    }
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{PEERS}"}
    command = [python, str(PEERS / CONTESTANTS[contestant][0]), json.dumps(job)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=options.limit
        )
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {options.limit} s"}
    lines = done.stdout.splitlines()
    if not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    return json.loads(lines[-1])


def cosine(folder: Path, model: str, method: str, contestant: str) -> float | None:
    """Return the similarity of a contestant's map to ours, summed over the channels."""
    paths = [folder / f"{model}-{method}-{who}.npy" for who in ("ours", contestant)]
    if not all(path.exists() for path in paths):
        return None
    a, b = (np.load(path).astype(np.float64).sum(axis=-1).ravel() for path in paths)
    if a.shape != b.shape:
        return None
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))


def summary(found: list[dict]) -> dict[str, Any]:
    """Return the medians over the rounds, or the error."""
    errors = [one["error"] for one in found if "error" in one]
    if errors:
        return {"error": errors[0]}
    return {
        key: statistics.median(one[key] for one in found)
        for key in ("first", "steady", "processor", "peak")
    }


def table(results: list[dict], what: str, digits: int) -> str:
    """Return one quantity as a Markdown table, a row for each model and method."""
    names = list(CONTESTANTS)
    lines = [f"| model | method | {' | '.join(names)} |", "| - | - |" + " -: |" * len(names)]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in results:
        cell = f"{one[what]:.{digits}f}" if what in one else "failed"
        rows.setdefault((one["model"], one["method"]), {})[one["contestant"]] = cell
    for (model, method), cells in rows.items():
        lines.append(f"| {model} | {method} | {' | '.join(cells.get(n, '') for n in names)} |")
    return "\n".join(lines)


def report(results: list[dict], options: argparse.Namespace) -> str:
    """Return all tables as Markdown."""
    head = (
        f"{os.cpu_count()} cores, {platform.machine()}, medians of {options.repeats}, "
        f"{options.masks} masks, batches of {options.batch}"
    )
    parts = [
        ("Seconds an image, steady", "steady", 3),
        ("Processor seconds an image, steady", "processor", 3),
        ("Seconds to the first map from a cold start", "first", 1),
        ("Peak memory of the process, GiB", "peak", 2),
    ]
    return "\n\n".join([
        f"Command: `python benchmarks/deep.py {' '.join(sys.argv[1:])}`; {head}.",
        *(f"**{title}**\n\n{table(results, what, digits)}" for title, what, digits in parts),
    ])  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--masks", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--limit", type=int, default=900, help="seconds for one process")
    parser.add_argument("--torch-python", help="a Python with torch, keras, captum and zennit")
    parser.add_argument("--xplique-python", help="a Python with tensorflow and xplique")
    parser.add_argument("--out", type=Path, default=Path("deep.json"))
    return parser.parse_args()


def main() -> None:
    options = arguments()
    needs = {"xplique": options.xplique_python, "captum": options.torch_python,
             "zennit": options.torch_python}  # fmt: skip
    contestants = [name for name in options.contestants if needs.get(name, "here")]
    results: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in options.models:
            inputs = write_inputs(folder, model, options.batch)
            for method in options.methods:
                turns = [c for c in contestants if possible(c, model, method)]
                found: dict[str, list[dict]] = {c: [] for c in turns}
                for _ in range(options.repeats):
                    for contestant in turns:
                        found[contestant].append(measure(options, contestant, inputs, method))
                for contestant, measured in found.items():
                    one = {"model": model, "method": method, "contestant": contestant}
                    one |= summary(measured)
                    one |= {"rounds": measured}
                    one |= {"cosine": cosine(folder, model, method, contestant)}
                    results.append(one)
                    shown = {k: v for k, v in one.items() if k != "rounds"}
                    print(json.dumps(shown), flush=True)
                # After each method, so that a run that is stopped leaves its results.
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                options.out.with_suffix(".md").write_text(report(results, options) + "\n")


if __name__ == "__main__":
    main()
