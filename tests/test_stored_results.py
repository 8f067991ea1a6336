"""Every method and metric on a tiny network, compared with what it gave before.

A stored value proves nothing by itself: other tests compare methods with formulas, slow replicas
and other libraries. This one notices any change of any of them within seconds. After a change that
is meant, write the values again and say in the commit why they differ:

    python -m tests.test_stored_results
"""

import dataclasses
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import mnist_xai as mx
from mnist_xai.quality import METRICS, ExplainedBatch
from tests.references.networks import _drawn, blobs

FILE = Path(__file__).parent / "references" / "stored_results.npz"
SIDE = 12
SEED = 5  # No class activation map is zero, and hardly any score is undefined.
TARGETS = [2, 3, 3]  # The predicted classes, which some metrics require.

# Few steps and samples: a change shows with any number of them.
FEWER = {"steps": 6, "points": 2, "samples": 8, "permutations": 2, "designs": 4, "subsets": 6}


@cache
def network():
    """Return a network with BatchNorm, an addition, both poolings, dense layers and softmax."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = layers.Conv2D(4, 3, name="conv1")(image)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool1")(layers.Add(name="add")([x, y]))
    x = layers.AveragePooling2D(2, name="pool2")(layers.Conv2D(6, 3, name="conv3")(x))
    x = layers.Dense(8, activation="relu", name="dense")(layers.Flatten(name="flatten")(x))
    model = keras.Model(image, layers.Dense(5, activation="softmax", name="logits")(x))
    model = _drawn(model, seed=SEED)
    model.get_layer("logits").bias.assign_add([4.0] * 5)  # Some metrics need positive scores.
    return mx.Network(model)


@cache
def images():
    return blobs(3, (SIDE, SIDE, 1), seed=5)


def small(value):
    """Return a method or metric with fewer steps and samples."""
    fields = {field.name for field in dataclasses.fields(value)}
    return dataclasses.replace(value, **{k: v for k, v in FEWER.items() if k in fields})


@cache
def explanation(name):
    return mx.explain(network(), images(), TARGETS, method=small(mx.METHODS[name]))


def method_values(name):
    found = explanation(name)
    absorbed = [found.absorbed[key] for key in sorted(found.absorbed)]
    return {"maps": found.maps, "scores": found.scores, "absorbed": np.array(absorbed)}


def metric_values(name):
    masks = np.zeros((3, SIDE, SIDE), np.bool_)
    masks[:, 3:9, 4:8] = True
    method = small(mx.METHODS["epsilon_plus_flat"])
    maps = explanation("epsilon_plus_flat").maps
    batch = ExplainedBatch.of(network(), images(), method, TARGETS, maps=maps, masks=masks)
    return {"values": small(METRICS[name])(batch).values}


def stored(key):
    with np.load(FILE) as file:
        return {k.removeprefix(f"{key}/"): file[k] for k in file.files if k.startswith(f"{key}/")}


def compare(found, key):
    expected = stored(key)
    assert found.keys() == expected.keys(), "run python -m tests.test_stored_results"
    for name, values in expected.items():
        assert np.isfinite(values).any() or not values.size, name
        largest = np.nanmax(np.abs(values), initial=1e-2)
        bound = 4 * network().runner.rounding * largest
        np.testing.assert_allclose(found[name], values, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("name", mx.METHODS)
def test_a_method_gives_the_maps_scores_and_absorbed_parts_that_it_gave_before(name):
    compare(method_values(name), name)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_the_scores_that_it_gave_before(name):
    compare(metric_values(name), f"metric {name}")


def main():
    """Write the values of today."""
    kept = {f"{name}/{k}": v for name in mx.METHODS for k, v in method_values(name).items()}
    kept |= {f"metric {n}/{k}": v for n in METRICS for k, v in metric_values(n).items()}
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    main()
