"""Quantus's robustness and randomisation metrics for `tests/references`.

    python benchmarks/peers/quantus_robustness.py inputs.npz tests/references

`inputs.npz` is that of `references.py`. Noise and random weights are drawn as in the tests and
replace Quantus's own. The maps are gradients, in float64.
"""

import contextlib
import importlib.metadata
import io
import json
import sys
import warnings
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import quantus
import torch
from quantus_stubs import Doubled, score, stub_zennit
from skimage.metrics import structural_similarity

stub_zennit()

from twins import twin  # noqa: E402

PLAIN = {"abs": False, "normalise": False, "disable_warnings": True}
SAMPLES, RADIUS, WIDE = 6, 0.1, 0.19
SMOOTH = 0.02
NETWORK = "residual"  # Two of its layers have weights of equal shape.


def explain(model, inputs, targets, **_):
    """Return the gradient of each target's logit."""
    x = torch.tensor(np.asarray(inputs)).requires_grad_()
    scores = model(x)[torch.arange(len(x)), torch.tensor(np.asarray(targets))]
    return torch.autograd.grad(scores.sum(), x)[0].numpy()


class Case:
    """The network, four images without black or white pixels, and their predicted classes."""

    def __init__(self, arrays):
        self.model = Doubled(twin(NETWORK, arrays))
        noise = np.random.default_rng(3).random((4, 28, 28, 1), np.float32)
        blobs = arrays[f"{NETWORK}/images"][[0, 1, 2, 0]]
        self.images = (0.2 + 0.3 * blobs + 0.3 * noise).astype(np.float32)
        self.x = np.ascontiguousarray(self.images.transpose(0, 3, 1, 2))
        with torch.no_grad():
            self.logits = self.model(torch.tensor(self.x)).numpy()
        self.targets = self.logits.argmax(axis=1)
        self.maps = explain(self.model, self.x, method=self.targets).astype(np.float32)

    def score(self, metric, rows=slice(None), maps=True, **given):
        given = {"explain_func": explain, **given}
        a = self.maps[rows].copy() if maps is True else maps
        x, y = self.x[rows].copy(), self.targets[rows].copy()
        given |= {"model": self.model, "x_batch": x, "y_batch": y, "a_batch": a}
        with contextlib.redirect_stdout(io.StringIO()):
            if isinstance(metric, quantus.EfficientMPRT):  # It needs probabilities.
                return metric(channel_first=True, softmax=True, **given)
            return score(metric, **given)


def uniform(radius):
    """Patch `numpy.random.uniform` to return our noise, the same for every image."""
    shape = (SAMPLES, 28, 28, 1)
    noise = np.random.default_rng(0).uniform(-radius, radius, shape).astype(np.float32)
    return mock.patch(
        "numpy.random.uniform",
        side_effect=[np.tile(one.ravel(), (4, 1)) for one in noise],
    )


# --- Robustness ----------------------------------------------------------------------------


def robustness(case):
    for key, metric in (("max", quantus.MaxSensitivity), ("avg", quantus.AvgSensitivity)):
        with uniform(RADIUS):
            yield f"{key}_sensitivity", case.score(metric(nr_samples=SAMPLES, **PLAIN))
    lipschitz = quantus.LocalLipschitzEstimate(
        nr_samples=SAMPLES,
        perturb_func=quantus.functions.perturb_func.batch_uniform_noise,
        **PLAIN,
    )
    with uniform(RADIUS):
        yield "local_lipschitz", case.score(lipschitz)
    for radius, key in ((RADIUS, ""), (WIDE, "_wide")):
        for name, metric in (
            ("input", quantus.RelativeInputStability),
            ("output", quantus.RelativeOutputStability),
        ):
            with uniform(radius):
                yield (
                    f"relative_{name}_stability{key}",
                    case.score(metric(nr_samples=SAMPLES, **PLAIN)),
                )
    with mock.patch("numpy.random.uniform", wraps=np.random.uniform) as drawn:
        case.score(quantus.RelativeInputStability(nr_samples=1, **PLAIN))
    yield "relative_stability_noise", [drawn.call_args.kwargs[end] for end in ("low", "high")]


def lipschitz_of_neighbours(case):
    """Yield the first image's score by Quantus's defaults, alone and with the other images."""
    found = []
    for rows in (slice(0, 1), slice(None)):
        noise = np.random.default_rng(0).uniform(-RADIUS, RADIUS, (SAMPLES, 784))
        count = len(case.x[rows])
        draws = [np.tile(one, (count, 1)) for one in noise]
        metric = quantus.LocalLipschitzEstimate(
            nr_samples=SAMPLES,
            disable_warnings=True,
            perturb_func=quantus.functions.perturb_func.batch_uniform_noise,
        )
        with mock.patch("numpy.random.uniform", side_effect=draws):
            found.append(case.score(metric, rows, maps=None)[0])
    yield "local_lipschitz_alone_and_not", found


def consistency(case):
    """Yield scores of maps that agree in the first five pixels, which the default compares."""
    maps = case.maps.copy()
    maps[..., 0, :5] = 0
    metric = quantus.Consistency(disable_warnings=True)
    yield "consistency_of_maps", case.score(metric, maps=maps)
    other = np.zeros_like(maps)
    other[:, 0, 14, np.arange(4) * 5] = 1
    yield "consistency_of_other_maps", case.score(metric, maps=other)


# --- Randomisation -------------------------------------------------------------------------


def random_weights(arrays):
    """Return random weights by name, as the tests draw them."""
    found = {}
    for key, value in arrays.items():
        if key.startswith(f"{NETWORK}/") and key.count("/") == 2:
            rng = np.random.default_rng(zlib.crc32(key.encode()))
            found[key] = rng.uniform(0.2, 1, value.shape) * rng.choice([-1, 1], value.shape)
            if key.endswith(("gamma", "moving_variance")):
                found[key] = np.abs(found[key])
    return found


@contextlib.contextmanager
def our_random_weights(case, arrays):
    """Patch `reset_parameters` so that Quantus's models get our random weights."""
    made = Doubled(twin(NETWORK, random_weights(arrays)))
    states = {name: module.state_dict() for name, module in made.named_modules()}
    for name, module in case.model.named_modules():
        module.key = name
    patches = [
        mock.patch.object(kind, "reset_parameters", lambda m: m.load_state_dict(states[m.key]))
        for kind in (torch.nn.Conv2d, torch.nn.Linear)
    ]
    norm = torch.nn.modules.batchnorm._NormBase
    patches.append(
        mock.patch.object(norm, "reset_parameters", lambda m: m.load_state_dict(states[m.key]))
    )
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def randomisation(case, arrays):
    with our_random_weights(case, arrays):
        for order, key in (("top_down", "cascading"), ("independent", "independent")):
            for magnitudes, name in ((True, "rank_of_magnitudes"), (False, "rank")):
                metric = quantus.MPRT(
                    layer_order=order, disable_warnings=True, abs=magnitudes, normalise=False
                )
                maps = np.abs(case.maps) if magnitudes else case.maps
                found = dict(case.score(metric, maps=maps.copy()))
                found.pop("original")
                layers = [layer.removeprefix("model.") for layer in found]
                yield f"mprt_{key}_{name}", np.array(list(found.values())).T
            yield f"mprt_{key}_layers", np.array(layers)
        metric = quantus.EfficientMPRT(**PLAIN)
        yield "emprt", case.score(metric)
        maps = case.maps.copy()
        for key, factor in (("", 1), ("_of_a_neighbour", 100)):
            maps[3] = factor * case.maps[3]
            ruled = quantus.EfficientMPRT(
                complexity_func_kwargs={"rule": "Freedman Diaconis"}, **PLAIN
            )
            yield f"emprt_by_rule{key}", case.score(ruled, maps=maps.copy())
        for given in (True, False):
            noise = np.random.default_rng(0).standard_normal((SAMPLES, 28, 28, 1), np.float32)
            draws = [np.tile(one.reshape(1, 1, 28, 28), (4, 1, 1, 1)) for one in noise]
            metric = quantus.SmoothMPRT(
                nr_samples=SAMPLES,
                noise_magnitude=SMOOTH,
                layer_order="top_down",
                **PLAIN,
            )
            # The last copy is the image itself.
            # SmoothMPRT ignores the given `explain_func`, so its own `explain` is patched.
            with (
                mock.patch("quantus.explain", lambda model, x, y, **_: explain(model, x, method=y)),
                mock.patch("numpy.random.randn", side_effect=draws[:-1] * 20),
            ):
                found = dict(case.score(metric, maps=True if given else None))
            found = {key: value for key, value in found.items() if key not in ("orig", "original")}
            key = "smprt_maps_given" if given else "smprt"
            yield key, np.array(list(found.values())).T


def same_draw(case):
    """Yield the largest difference of two layers of equal shape after Quantus randomised them."""
    wrapped = quantus.helpers.model.pytorch_model.PyTorchModel(case.model, channel_first=True)
    *_, (_, last) = wrapped.get_random_layer_generator("top_down", 42)
    a, b = (last.model.get_submodule(name).weight for name in ("conv2", "conv3"))
    yield "mprt_conv2_less_conv3", [float((a - b).abs().max())]


def random_logit(case):
    distances = 1 + np.random.default_rng(0).permutation(9)[:1]
    other = (case.targets + distances) % 10
    index = np.where(other < case.targets, other, other - 1)
    for name, similarity in (
        ("rank", quantus.functions.similarity_func.correlation_spearman),
        ("ssim", None),
    ):
        metric = quantus.RandomLogit(similarity_func=similarity, num_classes=10, **PLAIN)
        with mock.patch("numpy.random.randint", return_value=index):
            yield f"random_logit_{name}", case.score(metric)
    maps = explain(case.model, case.x, method=other)
    plane = [_unit(a[0], b[0]) for a, b in zip(case.maps.astype(float), maps, strict=True)]
    yield "skimage_ssim", [structural_similarity(a, b, data_range=2.0) for a, b in plane]
    metric = quantus.RandomLogit(num_classes=10, **PLAIN)
    forward = case.score(metric)
    backward = case.score(metric, slice(None, None, -1))
    yield "random_logit_first_and_last", [forward[0], backward[-1]]


def _unit(*maps):
    return [one / np.abs(one).max() for one in maps]


def main():
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    case = Case(arrays)
    found = {"images": case.images, "targets": case.targets, "logits": case.logits}
    found["maps"] = case.maps.transpose(0, 2, 3, 1)
    warnings.simplefilter("ignore")
    for values in (
        robustness(case),
        lipschitz_of_neighbours(case),
        consistency(case),
        same_draw(case),
        random_logit(case),
        randomisation(case, arrays),
    ):
        found.update({key: np.asarray(value) for key, value in values})
    path = Path(sys.argv[2]) / "quantus_robustness.npz"
    versions = {p: importlib.metadata.version(p) for p in ("quantus", "torch", "numpy")}
    found["versions"] = json.dumps(versions)
    found["command"] = "python benchmarks/peers/quantus_robustness.py inputs.npz tests/references"
    np.savez_compressed(path, **found)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} kB")
    for key, value in found.items():
        print(key, np.shape(value), np.array2string(np.asarray(value).ravel()[:6]))


if __name__ == "__main__":
    main()
