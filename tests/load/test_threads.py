"""Eight threads that share a `Network` get the results of one thread, and compile nothing twice."""

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret.core import graph, passes, twin
from mnist_xai.interpret.methods.base import METHODS
from mnist_xai.interpret.methods.gradients.gradient import Gradient
from mnist_xai.quality import METRICS, ExplainedBatch, PixelFlipping
from mnist_xai.quality.faithfulness.removal import Baseline

THREADS = 8
CHEAP = ("gradient", "input_x_gradient", "gradcam", "lrp_epsilon", "deeplift_rescale", "occlusion",
         "guided_backprop", "smoothgrad")  # fmt: skip
# Metrics that change the weights of the network's copy.
EXPERIMENTS = ("parameter_randomisation", "implementation_invariance", "linearity")
OTHERS = ("symmetry", "max_sensitivity", "pixel_flipping")


def small():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(5, activation="softmax"),
        ]
    )


@pytest.fixture
def pictures():
    return np.random.default_rng(0).random((3, 12, 12, 1), np.float32)


def at_once(*tasks):
    """Run the tasks in threads that start together; return what each gives."""
    start = threading.Barrier(len(tasks))

    def run(task):
        start.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(run, tasks))


def slowly(function):
    """Return the function, delayed so that other threads can run in between."""

    def slow(*args, **kwargs):
        time.sleep(0.05)
        return function(*args, **kwargs)

    return slow


def test_a_pass_requested_by_eight_threads_is_compiled_once(monkeypatch, pictures):
    made = []
    compile_pass = slowly(tf.function)

    def count(*args, **kwargs):
        if "input_signature" in kwargs:  # Without Keras's own functions.
            made.append(args)
        return compile_pass(*args, **kwargs)

    monkeypatch.setattr(passes.tf, "function", count)
    one = mx.Network(small())
    found = at_once(*[lambda: one.gradient(pictures, [0, 1, 2])[0]] * THREADS)
    assert len(made) == len(one.passes.traces()) == 1
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_a_compiled_pass_runs_while_another_is_being_compiled(pictures):
    one, tracing, ran = mx.Network(small()), threading.Event(), threading.Event()
    one.logits(pictures)

    def build(network):
        def waits(images):
            tracing.set()
            assert ran.wait(30), "the compiled pass waited for this one"
            return network.runner.logits(images)

        return waits

    def runs():
        assert tracing.wait(30)
        one.logits(pictures)
        ran.set()

    at_once(lambda: one.passes.get(build, signature=(one.runner.image_spec,)), runs)


def test_eight_threads_that_request_the_twin_get_the_same_one(monkeypatch):
    monkeypatch.setattr(twin, "copy_model", slowly(graph.copy_model))
    one = mx.Network(small())
    assert len({id(made) for made in at_once(*[one.experiments.twin] * THREADS)}) == 1
    made = []

    def derived():
        return one.experiments.derived("same", lambda copy: made.append(copy) or copy)

    assert len({id(other) for other in at_once(*[derived] * THREADS)}) == len(made) == 1


def test_eight_threads_with_different_methods_give_the_maps_of_one_thread(pictures):
    model = small()
    alone = {name: mx.explain(mx.Network(model), pictures, method=name).maps for name in CHEAP}
    one = mx.Network(model)
    for shift in range(3):  # First while passes are compiled, then when all are.
        order = [*CHEAP[shift:], *CHEAP[:shift]]
        found = at_once(
            *[lambda n=name: mx.explain(one, pictures, method=n).maps for name in order]
        )
        for name, maps in zip(order, found, strict=True):
            np.testing.assert_allclose(maps, alone[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert set(one.passes.traces().values()) == {1}


def test_metrics_in_eight_threads_give_the_scores_of_one_thread(pictures):
    model = small()
    alone = {n: METRICS[n](batch(model, pictures)).values for n in (*EXPERIMENTS, *OTHERS)}
    shared = batch(model, pictures)
    tasks = [*EXPERIMENTS, *OTHERS, *EXPERIMENTS][:THREADS]
    found = at_once(*[lambda n=name: METRICS[n](shared).values for name in tasks])
    for name, values in zip(tasks, found, strict=True):
        np.testing.assert_allclose(values, alone[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.about.needs == "method"])
def test_metrics_hold_the_lock_exactly_while_they_change_and_use_the_twin(
    monkeypatch, pictures, name
):
    shared = batch(small(), pictures)
    one, copy, seen = shared.network, shared.network.experiments.twin(), []
    set_weights = keras.Model.set_weights

    def note(network_or_model):
        seen.append((network_or_model in (copy, copy.model), one.experiments._running._is_owned()))

    monkeypatch.setattr(
        keras.Model,
        "set_weights",
        lambda model, weights: note(model) or set_weights(model, weights),
    )
    METRICS[name](dataclasses.replace(shared, method=Watched(note)))
    assert seen or name == "completeness"  # It runs nothing for a method without a promised sum.
    # A metric that has taken the lock keeps it to the end, so other calls in between are ignored.
    changes = any(of_twin for of_twin, _ in seen)
    assert all(held for of_twin, held in seen if of_twin)
    assert changes or not any(held for _, held in seen)


@pytest.mark.parametrize("name", OTHERS)
def test_metrics_that_change_no_weights_do_not_wait_for_one_another(pictures, name):
    shared, meeting = batch(small(), pictures), threading.Barrier(2, timeout=30)
    alone = METRICS[name](shared).values
    metric, method = METRICS[name], Watched(lambda _: meeting.wait())
    if name == "pixel_flipping":  # It does not call the method.
        metric = PixelFlipping(removal=Met(meeting.wait))
    met = dataclasses.replace(shared, method=method)
    for values in at_once(*[lambda: metric(met).values] * 2):
        np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-6)


class Watched(Gradient):
    """The gradient; it reports each network that it is called with."""

    def __init__(self, tell):
        object.__setattr__(self, "tell", tell)

    def __call__(self, network, images, targets, *, score="logit"):
        self.tell(network)
        return super().__call__(network, images, targets, score=score)


class Met(Baseline):
    """A black baseline that waits for another thread."""

    def __init__(self, meet):
        super().__init__()
        object.__setattr__(self, "meet", meet)

    def fills(self, images):
        self.meet()
        return super().fills(images)


def batch(model, pictures):
    return ExplainedBatch.of(mx.Network(model), pictures, METHODS["gradient"])
