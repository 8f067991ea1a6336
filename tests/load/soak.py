"""Thousands of explanations in one process: `python -m tests.load.soak 10000`.

Networks are created, explained by several methods, measured, plotted and deleted. Afterwards no
network, thread or open file may be left, and memory must not have grown. No pass may have been
traced twice.
"""

import dataclasses
import gc
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice

import keras
import numpy as np
import psutil
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import METHODS
from mnist_xai.quality import METRICS, ExplainedBatch
from mnist_xai.report import png

LIMIT_MB = 50
TOLERANCE = 1e-5  # float32 sums differ with the order in which TensorFlow's threads add.
EACH = 20  # Explanations by one method of one network.
METHODS_PER_NETWORK = 5
# Hyper-parameters for fast explanations: the load is their number, not their length.
_FAST = {"steps": 16, "points": 2, "samples": 32, "permutations": 2, "designs": 4}


@dataclasses.dataclass
class Report:
    """What was done, and what was left afterwards."""

    explanations: int = 0
    networks: int = 0
    refused: Counter = dataclasses.field(default_factory=Counter)
    methods: set = dataclasses.field(default_factory=set)
    traced_again: list = dataclasses.field(default_factory=list)
    alive: int = 0
    memory: list = dataclasses.field(default_factory=list)  # MB after each network.
    handles: list = dataclasses.field(default_factory=list)  # Python threads, threads, files.
    seconds: float = 0.0

    @property
    def warm(self):
        """Return the number of networks that count as warm-up: one fifth, at least two."""
        return max(2, self.networks // 5)

    @property
    def growth(self):
        """Return the largest memory after the warm-up minus the memory at its end, in MB."""
        return max(self.memory[self.warm - 1 :]) - self.memory[self.warm - 1]

    @property
    def left(self):
        """Return the Python threads, threads and files added since the warm-up."""
        before, after = self.handles[self.warm - 1], self.handles[-1]
        return tuple(b - a for a, b in zip(before, after, strict=True))

    def check_traces(self, passes):
        """Record the passes that were traced more than once."""
        self.traced_again += [key for key, traces in passes.items() if traces != 1]

    @property
    def faults(self):
        """Return what is wrong, in words; empty when nothing is."""
        found = [f"traced again: {key}" for key in self.traced_again]
        if self.alive:
            found.append(f"{self.alive} networks are still alive")
        if self.growth > LIMIT_MB:
            found.append(f"memory grew by {self.growth:.0f} MB")
        if max(self.left) > 0:
            found.append(f"threads or files are left: {self.left}")
        return found

    def __str__(self):
        kept = self.memory[self.warm - 1 :]
        slope = np.polyfit(np.arange(len(kept)), kept, 1)[0] if len(kept) > 1 else 0.0
        per_thousand = slope * self.networks / self.explanations * 1000
        return (
            f"{self.explanations:,} explanations by {len(self.methods)} methods of "
            f"{self.networks} networks in {self.seconds:.0f} s; {sum(self.refused.values())} "
            f"method-network pairs refused by name\n"
            f"memory: {kept[0]:.0f} MB after warm-up ({self.warm} networks), at most "
            f"{max(kept):.0f} MB after (+{self.growth:.1f}), {kept[-1]:.0f} MB in the end, "
            f"{per_thousand:+.2f} MB per 1,000 explanations\n"
            f"networks alive: {self.alive}; passes traced again: {len(self.traced_again)}; "
            f"left over (Python threads, threads, files): {self.left}\n"
            f"{'; '.join(self.faults) or 'nothing is left'}"
        )


def sequential():
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(5, activation="softmax"),
        ]
    )


def residual():
    image = keras.Input((12, 12, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    y = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(5)(layers.Dropout(0.5)(x)))


def nested():
    inner = keras.Sequential(
        [keras.Input((12, 12, 1)), layers.Conv2D(3, 3, strides=2, activation="relu")]
    )
    image = keras.Input((12, 12, 1))
    return keras.Model(image, layers.Dense(4, activation="softmax")(layers.Flatten()(inner(image))))


MODELS = (sequential, residual, nested, mx.build_model)


def quick(name):
    method = METHODS[name]
    given = {field.name for field in dataclasses.fields(method)}
    return dataclasses.replace(method, **{k: v for k, v in _FAST.items() if k in given})


def soak(count, methods=tuple(METHODS), models=MODELS, show=None):
    """Explain `count` times, with the models and methods in turn; report what is left."""
    report, names, start = Report(), cycle(methods), time.perf_counter()
    watched = []
    for make in cycle(models):
        if report.explanations >= count:
            break
        watched.append(_one_network(make, list(islice(names, METHODS_PER_NETWORK)), count, report))
        gc.collect()
        report.alive = sum(ref() is not None for ref in watched)
        process = psutil.Process()
        report.memory.append(process.memory_info().rss / 2**20)
        report.handles.append((threading.active_count(), process.num_threads(), process.num_fds()))
        report.networks += 1
        report.seconds = time.perf_counter() - start
        if show:
            show(report)
    return report


def _one_network(make, names, count, report):
    """Create a network, use it and delete it; return a weak reference to it."""
    network = mx.Network(make(), batch_size=2)
    rng = np.random.default_rng(report.networks)
    for name in names:
        passes = 0  # Their number after the first explanation by this method.
        for _ in _explanations(network, name, rng, report):
            if passes and len(network.passes.traces()) > passes:
                report.traced_again.append((network.model.name, name))
            passes = len(network.passes.traces())
            if report.explanations >= count:
                break
    images = _images(network, rng, 2)
    METRICS["parameter_randomisation"](ExplainedBatch.of(network, images, METHODS["gradient"]))
    png(mx.explain(network, images, method="gradient").plot())
    report.check_traces(network.passes.traces())
    return weakref.ref(network)


def _explanations(network, name, rng, report) -> Iterator[mx.Explanation]:
    for number in range(EACH):
        try:
            explained = mx.explain(
                network, _images(network, rng, 3 - number % 3), method=quick(name)
            )
        except mx.UnsupportedLayerError:
            report.refused[name] += 1
            return
        report.methods.add(name)
        report.explanations += 1
        yield explained


def _images(network, rng, count):
    return rng.random((count, *network.inputs.typical_shape), np.float32)


def differences(names=tuple(METHODS), threads=8, rounds=3):
    """Return, for each method, the difference between maps made in many threads and in one.

    The difference is relative to the largest value of the map.
    """
    keras.utils.set_random_seed(0)
    model = sequential()
    images = _images(mx.Network(model), np.random.default_rng(0), 3)
    shared, found = mx.Network(model), {}

    def explained(network, name):
        return mx.explain(network, images, method=quick(name)).maps

    alone = {name: explained(mx.Network(model), name) for name in names}
    for shift in range(rounds):  # In the first round, the passes are still being compiled.
        order = [*names[shift:], *names[:shift]]
        with ThreadPoolExecutor(threads) as pool:
            maps = list(pool.map(lambda name: explained(shared, name), order))
        for name, others in zip(order, maps, strict=True):
            far = np.abs(others - alone[name]).max() / np.abs(alone[name]).max()
            found[name] = max(found.get(name, 0.0), float(far))
    return found


def main():
    def show(report):
        if report.networks % 10 == 0:
            print(
                f"{report.explanations:,} explanations, {report.networks} networks, "
                f"{report.memory[-1]:.0f} MB, {report.seconds:.0f} s",
                flush=True,
            )

    report = soak(int(sys.argv[1]), show=show)
    print(report)
    far = differences()
    worst = max(far, key=far.__getitem__)
    print(
        f"{len(far)} methods in eight threads on one network: at most {far[worst]:.1e} of the "
        f"largest value from what one thread gives ({worst})"
    )
    sys.exit(1 if report.faults or far[worst] > TOLERANCE else 0)


if __name__ == "__main__":
    main()
