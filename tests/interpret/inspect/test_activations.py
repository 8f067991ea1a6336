import keras
import numpy as np
import pytest

from mnist_xai import Network, attention_map, build_model, layer_outputs, learned_attention
from mnist_xai.interpret.core.spatial import last_spatial_layer
from tests.conftest import nested


def test_outputs_equal_those_of_a_model_cut_at_the_layer(cnn, images):
    outputs = layer_outputs(cnn, images)
    assert list(outputs) == [
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "flatten",
        "dense",
        "probabilities",
    ]
    for name, output in outputs.items():
        cut = keras.Model(cnn.input, cnn.get_layer(name).output)
        np.testing.assert_allclose(output, np.asarray(cut(images)), atol=1e-6)


def test_every_layer_of_every_model_has_its_outputs(model, images):
    network = Network(model)
    outputs = layer_outputs(network, images)
    assert {name: o.shape[1:] for name, o in outputs.items()} == network.layer_shapes
    last = list(outputs.values())[-1]
    np.testing.assert_allclose(last, np.asarray(model(images, training=False)), atol=1e-6)


def test_inner_layers_and_second_calls_have_names_of_their_own(images):
    model = nested()
    outputs = layer_outputs(model, images)
    assert list(outputs) == [
        "backbone/first",
        "backbone/shared",
        "backbone/shared:2",
        "flatten",
        "head/out",
    ]
    backbone = model.get_layer("backbone")
    np.testing.assert_allclose(
        outputs["backbone/shared:2"], np.asarray(backbone(images)), atol=1e-6
    )
    shared = backbone.get_layer("shared")
    np.testing.assert_allclose(
        outputs["backbone/shared:2"], np.asarray(shared(outputs["backbone/shared"])), atol=1e-6
    )


def test_the_error_for_an_unknown_layer_lists_the_known_ones(network, images):
    with pytest.raises(ValueError, match="expected one of conv1, pool1, .*; got 'conv3'"):
        layer_outputs(network, images, ["conv3"])


@pytest.mark.parametrize("p", [1, 2, 4])
def test_attention_map_is_the_power_summed_over_channels(network, images, p):
    activation = layer_outputs(network, images, ["conv2"])["conv2"]
    expected = np.zeros((5, 8, 8, 1))
    for channel in range(64):
        expected[..., 0] += np.abs(activation[..., channel].astype(np.float64)) ** p
    np.testing.assert_allclose(attention_map(network, images, "conv2", p=p), expected, rtol=1e-5)


def test_attention_map_takes_the_last_spatial_layer(network, images):
    assert last_spatial_layer(network) == "pool2"
    np.testing.assert_array_equal(
        attention_map(network, images), attention_map(network, images, "pool2")
    )


def test_attention_map_refuses_bad_powers_and_layers_without_positions(network, images):
    with pytest.raises(ValueError, match="p: expected at least 1; got 0"):
        attention_map(network, images, p=0)
    with pytest.raises(ValueError, match="p: expected at least 1; got nan"):
        attention_map(network, images, p=np.nan)
    with pytest.raises(ValueError, match=r"'dense' gives \(5, 128\)"):
        attention_map(network, images, "dense")
    with pytest.raises(ValueError, match="none of its layers has outputs"):
        attention_map(build_model("dense"), images)


def test_learned_attention_is_the_softmax_over_positions(images):
    model = build_model("attention_cnn", seed=0)
    outputs = layer_outputs(model, images, ["conv2", "attention_scores", "attention_pool"])
    e = outputs["attention_scores"].reshape(5, 64).astype(np.float64)
    expected = np.exp(e) / np.exp(e).sum(axis=1, keepdims=True)
    alpha = learned_attention(model, images)
    assert alpha.shape == (5, 8, 8, 1)
    np.testing.assert_allclose(alpha.reshape(5, 64), expected, atol=1e-6)
    # The network goes on with the sum over positions: the article forgets to take it.
    pooled = (alpha * outputs["conv2"]).sum(axis=(1, 2))
    np.testing.assert_allclose(outputs["attention_pool"][:, 0], pooled, atol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_learned_attention_of_mixed_precision_sums_to_one_in_its_precision(images, dtype):
    alpha = learned_attention(build_model("attention_cnn", seed=0, dtype=dtype), images)
    np.testing.assert_allclose(alpha.sum(axis=(1, 2, 3)), 1, atol=0.01)


def test_learned_attention_refuses_other_layers(network, images):
    with pytest.raises(ValueError, match="got 'attention'"):
        learned_attention(network, images)
    with pytest.raises(ValueError, match="sum to one; those of 'dense' do not"):
        learned_attention(network, images, "dense")
