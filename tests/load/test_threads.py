"""Eight threads on one `Network` get what one thread gets, and compile nothing twice."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mnist_xai as mx
from mnist_xai.interpret import graph, network
from mnist_xai.interpret.registry import METHODS
from mnist_xai.quality import METRICS, Trial

THREADS = 8
CHEAP = ("gradient", "input_x_gradient", "gradcam", "lrp_epsilon", "deeplift_rescale", "occlusion",
         "guided_backprop", "smoothgrad")  # fmt: skip
# Those that change the weights of the network's one twin.
EXPERIMENTS = ("parameter_randomisation", "implementation_invariance", "linearity")


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
    """The same, with the others given time to get in between."""

    def slow(*args, **kwargs):
        time.sleep(0.05)
        return function(*args, **kwargs)

    return slow


def test_a_pass_that_eight_threads_ask_for_is_compiled_once(monkeypatch, pictures):
    made = []
    compile_pass = slowly(tf.function)

    def count(*args, **kwargs):
        if "input_signature" in kwargs:  # Not those that Keras makes for itself.
            made.append(args)
        return compile_pass(*args, **kwargs)

    monkeypatch.setattr(network.tf, "function", count)
    one = mx.Network(small())
    found = at_once(*[lambda: one.gradient(pictures, [0, 1, 2])[0]] * THREADS)
    assert len(made) == len(one._passes) == 1
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_eight_threads_that_ask_for_the_twin_get_one(monkeypatch):
    monkeypatch.setattr(network, "copied", slowly(graph.copied))
    one = mx.Network(small())
    assert len({id(twin) for twin in at_once(*[lambda: one.twin] * THREADS)}) == 1
    made = []

    def derived():
        return one.derived("same", lambda copy: made.append(copy) or copy)

    assert len({id(other) for other in at_once(*[derived] * THREADS)}) == len(made) == 1


def test_eight_threads_of_other_methods_give_what_one_thread_gives(pictures):
    model = small()
    alone = {name: mx.explain(mx.Network(model), pictures, name).maps for name in CHEAP}
    one = mx.Network(model)
    for shift in range(3):  # While passes are compiled, and when all of them are.
        order = [*CHEAP[shift:], *CHEAP[:shift]]
        found = at_once(*[lambda n=name: mx.explain(one, pictures, n).maps for name in order])
        for name, maps in zip(order, found, strict=True):
            np.testing.assert_allclose(maps, alone[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert {p.experimental_get_tracing_count() for p in one._passes.values()} == {1}


def test_experiments_on_one_network_take_turns(pictures):
    model = small()
    alone = {name: METRICS[name](trial(model, pictures)).values for name in EXPERIMENTS}
    shared = trial(model, pictures)
    tasks = [EXPERIMENTS[i % len(EXPERIMENTS)] for i in range(THREADS)]
    found = at_once(*[lambda n=name: METRICS[n](shared).values for name in tasks])
    for name, values in zip(tasks, found, strict=True):
        np.testing.assert_allclose(values, alone[name], rtol=1e-5, atol=1e-6, err_msg=name)


def trial(model, pictures):
    return Trial.of(mx.Network(model), pictures, METHODS["gradient"])
