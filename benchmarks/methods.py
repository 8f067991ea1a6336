"""Compare the speed of our explanations with other libraries and with the cost by definition.

    python benchmarks/methods.py --peers-python PATH --xplique-python PATH

All libraries explain the logits of the predicted classes of the same MNIST test images with the
weights of `saved_models/cnn.keras`: 256 images, or 16 for the methods marked with a star. Each
other library (a peer) runs in its own process. Only one works at a time, with its default number of
threads. In each round every method is run by all libraries that have it, one after the other, so
that other work of the machine slows all of them. Times are medians over the rounds, and ratios are
medians of the ratios within a round.

The table shows the peers' times divided by ours, and ours divided by the cost by definition: the
number of passes that `method.passes` states, times one pass of a plain `tf.function` over the same
Keras layers, forward or with a `GradientTape`, with 256 images a call. `--memory` shows instead by
how much each method makes a fresh process grow, with more images, steps or samples.

Ours runs with its defaults (`Network(model)`, 256 images a pass). Every setting of a peer in the
table below is tried before the rounds, for torch in both memory formats, and the fastest counts.
Everything that a peer can prepare (explainers, hooks, masks drawn in a constructor) is prepared
before the clock starts. All maps are returned as NumPy arrays. The similarity of a peer's maps to
ours is printed as a cosine. It is below 1 for methods that draw samples and for methods that a peer
defines differently.

| method | peer and its settings |
| - | - |
| gradient | Captum `Saliency(abs=False)`, batch 64, 256; Xplique `Saliency`, batch 64, 256, 1024; \
tf-keras-vis `Saliency`, signed, not normalised, batch 64, 256; plain |
| input_x_gradient | Captum `InputXGradient`, Xplique `GradientInput`, batches as above |
| integrated_gradients, 50 steps from black | Captum, Gauss-Legendre, `internal_batch_size` 64, \
256, 1024; Xplique, trapezoid, batch 64, 256, 1024; plain: 50 gradient passes in a Python loop |
| smoothgrad, 50 copies, sigma 0.15 | Captum `NoiseTunnel`, 256 images x 1 copy, 64 x 5 or 5 x 50 \
at once; Xplique, batch 64, 256, 1024; tf-keras-vis, batch 64, 256; plain, as above |
| guided_backprop, deconvnet | Captum, batch 64, 256; Xplique, batch 64, 256, 1024; Zennit, batch \
64, 256 |
| gradcam of `conv2` | Captum `LayerGradCam` and `LayerAttribution.interpolate`, batch 64, 256; \
Xplique, batch 64, 256, 1024; tf-keras-vis, batch 64, 256 |
| gradcam_plus_plus of `conv2` | Xplique and tf-keras-vis, as above |
| scorecam* of `conv2`, all 64 channels | tf-keras-vis, batch 64, 256, 1024 |
| deeplift_rescale from black | Captum `DeepLift`, batch 64, 256 |
| deep_shap*, 20 training images | Captum `DeepLiftShap`, 1, 3, 16 images at once; SHAP \
`DeepExplainer` of the greatest output only, all at once |
| occlusion, windows of 4 every 2 pixels | Captum, `perturbations_per_eval` 1, 4 of all 256 \
images; Xplique, batch 64, 256, 1024 |
| rise*, 500 masks of 7 x 7 | Xplique, batch 64, 256, 1024 |
| lime*, 500 masks of 49 patches | Captum with scikit-learn's ridge, `perturbations_per_eval` 64, \
256; Xplique with the same ridge and its own default kernel, batch 64, 256, 1024 |
| kernel_shap*, 500 masks of 49 patches | Captum, `perturbations_per_eval` 64, 256; Xplique, batch \
64, 256, 1024 |
| shapley_sampling*, 20 orders of 49 patches | Captum `ShapleyValueSampling`, \
`perturbations_per_eval` 4, 16, 49 of all 16 images |
| sobol*, 32 designs, 49 patches | Xplique, 32 x 51 passes (ours: 32 x 50), batch 64, 256, 1024 |
| hsic*, 500 masks of 49 patches | Xplique, batch 64, 256, 1024 |
| lrp_epsilon, lrp_z_plus, composites | Zennit, its composites attached, batch 64, 256 |

`--peers-python` is a Python with torch, captum, zennit and shap (`tests/references/README.md` says
how to install them). `--xplique-python` is a Python with xplique. tf-keras-vis runs in our own
environment. Columns of peers without a Python are left out. Methods that this version does not have
are left out and listed.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from peers.contest import (
    BASELINES,
    CAM_LAYER,
    DESIGNS,
    FEW,
    KERNEL_WIDTH,
    MASKS,
    NOISY,
    PATCH,
    PERMUTATIONS,
    RIDGE,
    SIGMA,
    STEPS,
    STRIDE,
    Inputs,
    Stopwatch,
    plainly,
)

ROOT = Path(__file__).resolve().parents[1]
SAVED = ROOT / "saved_models" / "cnn.keras"
IMAGES = 256
BUSY = 1.3  # If a plain pass varies more between rounds, the machine does other work as well.

# Hyper-parameters of ours that are not defaults, and whether 16 images are enough.
WORK: dict[str, tuple[dict[str, Any], bool]] = {
    "gradient": ({}, False),
    "input_x_gradient": ({}, False),
    "integrated_gradients": ({"steps": STEPS}, False),
    "smoothgrad": ({"samples": NOISY, "sigma": SIGMA}, False),
    "guided_backprop": ({}, False),
    "deconvnet": ({}, False),
    "gradcam": ({"layer": CAM_LAYER}, False),
    "gradcam_plus_plus": ({"layer": CAM_LAYER}, False),
    "scorecam": ({"layer": CAM_LAYER}, True),
    "deeplift_rescale": ({}, False),
    "deep_shap": ({}, True),
    "occlusion": ({"patch": PATCH, "stride": STRIDE}, False),
    "rise": ({"samples": MASKS}, True),
    "lime": ({"samples": MASKS, "kernel_width": KERNEL_WIDTH, "alpha": RIDGE}, True),
    "kernel_shap": ({"samples": MASKS}, True),
    "shapley_sampling": ({"permutations": PERMUTATIONS}, True),
    "sobol": ({"designs": DESIGNS}, True),
    "hsic": ({"samples": MASKS}, True),
    "lrp_epsilon": ({}, False),
    "lrp_z_plus": ({}, False),
    "epsilon_plus_flat": ({}, False),
    "epsilon_gamma_box": ({}, False),
    "epsilon_alpha2_beta1": ({}, False),
}

# For `--memory`: images and hyper-parameters. Other methods explain 2,000 images as above.
MANY = 2000
LARGE: dict[str, tuple[tuple[int, dict[str, Any]], ...]] = {
    "integrated_gradients": ((MANY, {"steps": STEPS}), (64, {"steps": 2000})),
    "smoothgrad": ((MANY, {"samples": NOISY}), (64, {"samples": 2000})),
    "scorecam": ((256, {"layer": CAM_LAYER}),),
    "deep_shap": ((256, {}),),
    "rise": ((MANY, {"samples": 100}), (FEW, {"samples": 10_000})),
    "lime": ((MANY, {"samples": 100}), (FEW, {"samples": 10_000})),
    "kernel_shap": ((MANY, {"samples": 100}), (FEW, {"samples": 10_000})),
    "shapley_sampling": ((MANY, {"permutations": 2}), (FEW, {"permutations": 200})),
    "sobol": ((MANY, {"designs": 2}), (FEW, {"designs": 256})),
    "hsic": ((MANY, {"samples": 100}), (FEW, {"samples": 4000})),
}


# Raised for methods or hyper-parameters that this version does not have.
MISSING = (KeyError, AttributeError, TypeError)


# --- The work ----------------------------------------------------------------------------


def write_inputs(path: Path, model: Any) -> None:
    """Write weights, by the names of `peers/twins.py`, images, predicted classes and baselines."""
    import mnist_xai as mx

    data = mx.load_data("mnist")
    images = mx.normalise(data.test_images[:IMAGES])
    arrays = {
        f"cnn/{layer.name}/{variable.name}": value
        for layer in model.layers
        for variable, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
    np.savez(
        path,
        images=images,
        targets=mx.Network(model).logits(images).argmax(axis=1).astype(np.int32),
        baselines=mx.normalise(data.train_images[:BASELINES]),
        model=str(SAVED),
        **arrays,
    )


def our_method(name: str, baselines: np.ndarray, **changes: Any) -> Any:
    """Return our method with these hyper-parameters; KeyError if this version does not have it."""
    from mnist_xai import METHODS, interpret

    if name == "deep_shap":
        changes["background"] = interpret.Background(baselines)
    return replace(METHODS[name], **changes)


class Plain:
    """Plain implementations: `tf.function`s over the model's own layers."""

    def __init__(self, model: Any) -> None:
        import keras
        import tensorflow as tf

        before, kernel, bias = (
            keras.Model(model.inputs, model.layers[-1].input),
            *model.layers[-1].weights,
        )
        image = tf.TensorSpec([None, *model.inputs[0].shape[1:]], tf.float32)
        target = tf.TensorSpec([None], tf.int32)

        def logits(x: Any) -> Any:
            return before(x) @ kernel + bias

        @tf.function(input_signature=[image], jit_compile=False)
        def forward(x: Any) -> Any:
            return logits(x)

        @tf.function(input_signature=[image, target], jit_compile=False)
        def gradient(x: Any, t: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                s = tf.gather(logits(x), t, batch_dims=1)
            return tape.gradient(s, x)

        self.forward, self.gradient = forward, gradient

    def methods(self, i: Inputs) -> dict[str, Callable[[], np.ndarray]]:
        """Return plain methods, and the single passes that measure the cost by definition."""
        x, t = i.images, i.targets
        return {
            "pass forward": lambda: self.forward(x).numpy(),
            "pass gradient": lambda: self.gradient(x, t).numpy(),
            "gradient": lambda: self.gradient(x, t).numpy(),
            "integrated_gradients": lambda: self._integrated(x, t),
            "smoothgrad": lambda: self._smooth(x, t),
        }

    def _integrated(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        nodes, weights = np.polynomial.legendre.leggauss(STEPS)
        total = 0.0
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            total += np.float32(weight) * self.gradient(np.float32(node) * x, t)
        return x * total.numpy()

    def _smooth(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).standard_normal((NOISY, *x.shape[1:]), np.float32)
        total = 0.0
        for one in noise:
            total += self.gradient(x + np.float32(SIGMA) * one, t)
        return (total / NOISY).numpy()


# --- Contestants -------------------------------------------------------------------------


class Peer:
    """A script of `peers/` in a process that waits for requests."""

    def __init__(self, name: str, script: str, python: str, needs: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._script, self._python, self._needs = script, python, needs
        self._errors = (folder / f"{name}.err").open("w+")
        path = Path(__file__).with_name("peers") / script
        try:
            self._process = subprocess.Popen(
                [python, str(path), str(folder / "inputs.npz")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True,
            )  # fmt: skip
        except OSError as error:
            raise SystemExit(f"{name}: cannot start {python}: {error.strerror}") from None
        hello = self._answer()
        self.has, self.versions, self.threads = (
            set(hello["methods"]),
            hello["versions"],
            hello["threads"],
        )

    def prepare(self, name: str) -> tuple[str, np.ndarray]:
        """Return the fastest setting and the maps; RuntimeError if the peer fails."""
        maps = self.folder / f"{self.name}-{name}.npy"
        return self._ask(do="prepare", method=name, maps=str(maps))["setting"], np.load(maps)

    def time(self, name: str) -> float:
        return self._ask(do="time", method=name)["seconds"]

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **request: str) -> dict:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._answer()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = [text.strip() for text in self._errors if text.strip()] or ["no error message"]
            raise SystemExit(
                f"{self.name}: {self._script} stopped under {self._python}: {said[-1]}\n"
                f"That Python needs {self._needs}. To leave it out, use --skip-peers {self.name}."
            )
        return json.loads(line)


class Here:
    """Methods that run in this process, with the interface of a peer."""

    def __init__(self, runs: dict[str, Callable[[], np.ndarray]]) -> None:
        self.has = set(runs)
        self._watch = Stopwatch({name: plainly(run) for name, run in runs.items()})

    def prepare(self, name: str) -> tuple[str, np.ndarray]:
        return self._watch.prepare(name)

    def time(self, name: str) -> float:
        return self._watch.time(name)

    def stop(self) -> None:
        """Do nothing: there is no process to stop."""


def peers(options: argparse.Namespace, folder: Path) -> Iterator[Peer]:
    torch = "torch, captum, zennit, shap and scikit-learn"
    for name, python, needs in (
        ("captum", options.peers_python, torch),
        ("zennit", options.peers_python, torch),
        ("shap", options.peers_python, torch),
        ("xplique", options.xplique_python, "tensorflow and xplique"),
        ("tf_keras_vis", sys.executable, "tensorflow and tf-keras-vis"),
    ):
        if python and name not in options.skip_peers and "all" not in options.skip_peers:
            yield Peer(name, f"{name}_methods.py", python, needs, folder)


# --- Speed -------------------------------------------------------------------------------


def speed(options: argparse.Namespace, folder: Path) -> dict:
    """Prepare every method of every contestant, then time them in rounds."""
    import mnist_xai as mx

    model = mx.load_model(SAVED)
    write_inputs(folder / "inputs.npz", model)
    i, network = Inputs(folder / "inputs.npz"), mx.Network(model)
    methods, left_out = {}, {}
    for name in options.methods:
        changes, _ = WORK[name]
        try:
            methods[name] = our_method(name, i.baselines, **changes)
        except MISSING as error:
            left_out[name] = f"this version does not have it ({error})"
            say(f"{name}: left out: {left_out[name]}")

    def ours(name: str) -> Callable[[], np.ndarray]:
        count = FEW if WORK[name][1] else IMAGES
        x, t = i.images[:count], i.targets[:count]
        return lambda: methods[name](network, x, t)

    plain = Here(Plain(model).methods(i))
    doers = {"ours": Here({name: ours(name) for name in methods}), "plain": plain}
    doers |= {peer.name: peer for peer in peers(options, folder)}
    rows = {}
    for name, method in methods.items():
        row = prepare(name, method, network, doers)
        failed = row["doers"]["ours"].get("error")
        if failed:
            left_out[name] = f"ours failed: {failed}"
        else:
            rows[name] = row
    for unit in ("forward", "gradient"):
        plain.prepare(f"pass {unit}")
    for turn in range(options.rounds):
        say(f"round {turn + 1}")
        for name, row in rows.items():
            row["pass_seconds"].append(plain.time(f"pass {row['unit']}"))
            for doer, entry in row["doers"].items():
                if "error" not in entry:
                    entry["seconds"].append(doers[doer].time(name))
    for doer in doers.values():
        doer.stop()
    return {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "rounds": options.rounds,
        "versions": versions(doers),
        "threads": {n: d.threads for n, d in doers.items() if isinstance(d, Peer)},
        "left_out": left_out,
        "methods": rows,
    }


def prepare(name: str, method: Any, network: Any, doers: dict[str, Any]) -> dict:
    """Warm up all contestants that have the method; compare their maps with ours."""
    row: dict[str, Any] = {
        "images": FEW if WORK[name][1] else IMAGES,
        "unit": method.about.unit,
        "passes": method.passes(network),
        "pass_images": IMAGES,
        "pass_seconds": [],
        "doers": {},
    }
    for doer, one in doers.items():
        if name not in one.has:
            continue
        entry: dict[str, Any] = {"seconds": []}
        row["doers"][doer] = entry
        try:
            entry["setting"], maps = one.prepare(name)
        except Exception as error:  # noqa: BLE001 A contestant that fails must not end the run.
            entry["error"] = str(error)
            say(f"{name}: {doer} failed: {error}")
            if doer == "ours":
                break
            continue
        if doer == "ours":
            reference = maps
        entry["cosine"] = cosine(reference, maps)
        say(f"{name}: {doer} {entry['setting']} (cosine {entry['cosine']:.4f})")
    return row


def cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the cosine of maps and ours, or of our magnitudes if theirs have no sign."""
    ours, theirs = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    if theirs.min() >= 0:
        ours = np.abs(ours)
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return float(ours @ theirs / norms) if norms else 0.0


def versions(doers: dict[str, Any]) -> dict[str, str]:
    import keras
    import tensorflow as tf

    found = {"tensorflow (ours)": tf.__version__, "keras (ours)": keras.__version__}
    for doer in doers.values():
        if isinstance(doer, Peer):
            found |= {f"{k} ({doer.name})": v for k, v in doer.versions.items()}
    return found


def ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def summarise(found: dict) -> None:
    """Add medians and ratios to the raw seconds."""
    for row in found["methods"].values():
        ours = row["doers"]["ours"]["seconds"]
        factor = row["passes"] * row["images"] / row["pass_images"]
        row["definition"] = ratio(ours, [factor * s for s in row["pass_seconds"]])
        for entry in row["doers"].values():
            if "error" not in entry:
                entry["median"] = statistics.median(entry["seconds"])
                entry["times_ours"] = ratio(entry["seconds"], ours)
                entry["times_ours_at_best"] = min(entry["seconds"]) / min(ours)


def report(found: dict) -> None:
    rows = found["methods"]
    columns = [n for n in ("plain", "captum", "xplique", "tf_keras_vis", "zennit", "shap")
               if any(n in row["doers"] for row in rows.values())]  # fmt: skip
    print(f"\n{found['machine']}, median of {found['rounds']} rounds; "
          + ", ".join(f"{k} {v}" for k, v in found["versions"].items()) + "\n")  # fmt: skip
    print("| method | images | ours, ms | " + "".join(f"{c} takes × | " for c in columns)
          + "passes of the definition | ours takes × |")  # fmt: skip
    print("| - " * (5 + len(columns)) + "|")
    for name, row in rows.items():
        cells = [cell(row["doers"].get(column)) for column in columns]
        print(
            f"| {name} | {row['images']} | {row['doers']['ours']['median'] * 1000:,.1f} | "
            + "".join(f"{text} | " for text in cells)
            + f"{row['passes']:g} {row['unit']} | {row['definition']:.2f} |"
        )
    if found["rounds"] > 1:
        spread = max(max(r["pass_seconds"]) / min(r["pass_seconds"]) for r in rows.values())
        print(f"\nA plain pass took up to {spread:.1f} times as long in one round as in another.")
        if spread > BUSY:
            print("The machine was busy, which slows PyTorch more than TensorFlow; "
                  "run the benchmark again when it is idle.")  # fmt: skip
    print("\nFastest settings; in brackets: fastest round over ours, cosine of the maps:\n")
    for name, row in rows.items():
        done = [
            f"{doer} {entry['setting']} (× {entry['times_ours_at_best']:.2f}, "
            f"{entry['cosine']:.4f})".replace("  ", " ")
            for doer, entry in row["doers"].items()
            if doer != "ours" and "error" not in entry
        ]
        print(f"- {name}: {', '.join(done) or 'no peer'}")
    for name, reason in found["left_out"].items():
        print(f"- {name}: left out: {reason}")


def cell(entry: dict | None) -> str:
    if entry is None:
        return ""
    return "failed" if "error" in entry else f"{entry['times_ours']:.2f}"


# --- Memory ------------------------------------------------------------------------------


def memory(options: argparse.Namespace) -> dict:
    """Run each method in a fresh process; return its largest growth in MiB."""
    found = []
    print("| method | images | with | grows by, MiB |\n| - | - | - | - |")
    for name in options.methods:
        for count, changes in LARGE.get(name, ((MANY, WORK[name][0]),)):
            command = [sys.executable, __file__, "--grow", json.dumps([name, count, changes])]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip().splitlines()[-1]
                say(f"{name}: {said}")
                found.append({"method": name, "error": said})
                continue
            grown = json.loads(done.stdout.splitlines()[-1])
            found.append({"method": name, "images": count, "changes": changes} | grown)
            text = ", ".join(f"{k} {v}" for k, v in changes.items())
            print(f"| {name} | {count} | {text} | {grown['mib']:.0f} |", flush=True)
    return {"memory": found}


def grow(name: str, count: int, changes: dict[str, Any]) -> None:
    """Print by how much this process grows beyond model and images, including compilation."""
    import mnist_xai as mx

    data = mx.load_data("mnist")
    images = mx.normalise(data.test_images[:count])
    baselines = mx.normalise(data.train_images[:BASELINES])
    del data
    try:
        method = our_method(name, baselines, **changes)
    except MISSING:
        raise SystemExit("left out: this version does not have it") from None
    network = mx.Network(mx.load_model(SAVED))
    targets = np.zeros(count, np.int32)
    before = reset_peak()
    maps = method(network, images, targets)
    print(json.dumps({"mib": peak() - before, "maps_mib": maps.nbytes / 2**20}))


def reset_peak() -> float:
    """Reset the peak if the system supports it and return the MiB in use; else return the peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak()
    return status("VmRSS")


def peak() -> float:
    try:
        return status("VmHWM")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


# --- Command line ------------------------------------------------------------------------


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=WORK, default=list(WORK), metavar="METHOD")
    parser.add_argument("--peers-python", help="a Python with torch, captum, zennit and shap")
    parser.add_argument("--xplique-python", help="a Python with xplique")
    parser.add_argument(
        "--skip-peers", nargs="*", default=[], metavar="PEER",
        choices=("all", "captum", "zennit", "shap", "xplique", "tf_keras_vis"),
        help="captum, zennit, shap, xplique, tf_keras_vis or all",
    )  # fmt: skip
    parser.add_argument("--memory", action="store_true", help="measure memory instead of time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        grow(*json.loads(options.grow))
        return
    if options.memory:
        found = memory(options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found = speed(options, Path(folder))
        summarise(found)
        report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
