"""A short run of the load test, and checks that it finds leaks."""

import tensorflow as tf

import mnist_xai as mx
from tests.load import soak

METHODS = ("gradient", "integrated_gradients", "gradcam", "lrp_epsilon", "occlusion")
MODELS = (soak.sequential, soak.residual)


def test_nothing_is_left_after_two_hundred_explanations(monkeypatch):
    # Four networks; the first two are the warm-up.
    monkeypatch.setattr(soak, "EACH", 10)
    report = soak.soak(200, METHODS, MODELS)
    assert report.explanations == 200
    assert report.methods == set(METHODS)
    assert report.faults == []


def test_a_network_that_is_not_deleted_is_found(monkeypatch):
    kept = []
    made = mx.Network
    monkeypatch.setattr(mx, "Network", lambda *a, **k: kept.append(made(*a, **k)) or kept[-1])
    monkeypatch.setattr(soak, "EACH", 1)
    report = soak.soak(10, ("gradient",) * 5, MODELS)
    assert "2 networks are still alive" in report.faults


def test_growing_memory_left_threads_and_files_and_second_traces_are_found():
    report = soak.Report(200, 4, memory=[100, 100, 140, 151], handles=[(1, 8, 6)] * 4)
    assert report.faults == ["memory grew by 51 MB"]
    report.memory[-1], report.handles[-1] = 150, (1, 9, 7)
    assert report.faults == ["threads or files are left: (0, 1, 1)"]
    report.handles[-1] = (1, 8, 6)
    assert report.faults == []

    twice = tf.function(lambda x: x)
    twice(tf.zeros(1)), twice(tf.zeros(2))
    report.check_traces({"pass": twice})
    assert report.faults == ["traced again: pass"]
