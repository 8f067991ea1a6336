"""Hostile model files made of Keras's own parts, which would cost gigabytes or minutes to build."""

import json
import zipfile

import h5py
import numpy as np

from tests.hostile.corpus import case
from tests.hostile.models import KERNEL, replaced

WEIGHTS = "asks for weights of"
LARGE = "would make .* numbers from one image"


def tensor(name, shape=(None, 4, 5, 1)):
    config = {"shape": list(shape), "dtype": "float32", "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": config}


def part(module, kind, config, name, inputs=("image",), **more):
    """Return a layer or operation of an architecture, called on others by their names."""
    return {
        "module": module, "class_name": kind, "registered_name": None, "name": name,
        "config": {"name": name, **config},
        "inbound_nodes": [{"args": [tensor(n) for n in inputs], "kwargs": {}}] if inputs else [],
        **more,
    }  # fmt: skip


def layer(kind, config, name, inputs=("image",), **more):
    return part("keras.layers", kind, config, name, inputs, **more)


def image(shape):
    return layer("InputLayer", {"batch_shape": [None, *shape], "dtype": "float32"}, "image", ())


def sequence(*layers):
    """Return an architecture of layers, each called on the previous one."""
    names = [layer["name"] for layer in layers]
    for before, here in zip(names, layers[1:], strict=False):
        here["inbound_nodes"] = [{"args": [tensor(before)], "kwargs": {}}]
    config = {"name": "model", "trainable": True, "layers": list(layers),
              "input_layers": [[names[0], 0, 0]], "output_layers": [[names[-1], 0, 0]]}  # fmt: skip
    return {"module": "keras.src.models.functional", "class_name": "Functional",
            "registered_name": "Functional", "config": config}  # fmt: skip


def with_also(box, *layers):
    config = box.config()
    config["config"]["layers"] += layers
    return box.archive(config=config)


def argument(box, value):
    """Write the good model; its last layer gets an additional argument."""
    config = box.config()
    box.layer(config)["inbound_nodes"][0]["kwargs"]["training"] = value
    return box.archive(config=config)


@case("load_model", WEIGHTS)
def weights_of_an_unused_branch(box):
    flat, big = layer("Flatten", {}, "f"), layer("Dense", {"units": 6_000_000}, "big", ("f",))
    return with_also(box, flat, big)


@case("load_model", WEIGHTS)
def a_built_layer_as_an_argument(box):
    dense = layer("Dense", {"units": 20_000}, "inner", ())
    dense["build_config"] = {"input_shape": [None, 20_000]}
    return argument(box, dense)


@case("load_model", LARGE)
def layers_replaced_by_shared_objects(box):
    """Built without Keras's scope of shared objects, this looks like a chain of ReLUs."""
    large = [layer("UpSampling1D", {"size": 30}, f"u{i}", (), shared_object_id=i) for i in range(5)]
    chain = [layer("ReLU", {}, f"r{i}", shared_object_id=i) for i in range(5)]
    config = sequence(image([20, 1]), *chain, layer("Flatten", {}, "flat"),
                      layer("Dense", {"units": 4}, "out"))  # fmt: skip
    config["config"]["layers"][1:1] = large
    return box.archive(config=config)


@case("load_model", WEIGHTS)
def weights_stored_in_fewer_bytes_than_needed(box):
    """A million values of one byte each, where the layer needs eight bytes each."""
    config = sequence(image([4_000]), layer("Dense", {"units": 4_000, "dtype": "float64"}, "dense"))
    weights = box.weights(lambda file: file.create_dataset("x", data=np.zeros(1 << 20, "i1")))
    return box.archive(config=config, weights=weights)


@case("load_model", "in one piece, uncompressed")
def chunk_larger_than_its_array(box):
    def make(group, name, shape):
        group.create_dataset(
            name, data=np.ones(shape, "f4"), chunks=(20_000, 1_000), maxshape=(None, None),
            compression="gzip",
        )  # fmt: skip

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "in one piece, uncompressed")
def array_that_was_never_written(box):
    def make(group, name, shape):
        group.create_dataset(name, shape, "f4")

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "more than 20,000 objects")
def one_array_by_many_names(box):
    def link(file):
        found = file[KERNEL]
        for number in range(50_000):
            h5py.h5o.link(found.id, found.parent.id, f"n{number:x}".encode())

    weights = box.weights(link)
    return box.archive(weights=weights, compression=zipfile.ZIP_DEFLATED)


@case("load_model", "expected a constant of numbers")
def constant_of_a_text_of_gigabytes(box):
    config = {"value": "a", "dtype": "S2000000000"}
    return argument(box, {"class_name": "__numpy__", "config": config})


@case("load_model", "expected a constant of numbers")
def constant_of_arrays(box):
    config = {"value": 1.0, "dtype": "(200000000,)f8"}
    return argument(box, {"class_name": "__numpy__", "config": config})


@case("load_model", LARGE)
def constants_as_large_as_the_input(box):
    normal = layer("Normalization", {"axis": -1, "mean": 0.0, "variance": 1.0}, "normal")
    return box.archive(config=sequence(image([100_000_000]), normal))


@case("load_model", LARGE)
def constants_as_large_as_an_enlarged_input(box):
    parts = layer("RepeatVector", {"n": 50_000_000}, "many"), layer(
        "Normalization", {"axis": 1, "mean": 0.0, "variance": 1.0}, "normal")  # fmt: skip
    return box.archive(config=sequence(image([2]), *parts))


@case("load_model", "orthogonal matrices of")
def orthogonal_weights(box):
    dense = layer("Dense", {"units": 4_000, "kernel_initializer": "orthogonal"}, "dense")
    return box.archive(config=sequence(image([4_000]), dense))


@case("load_model", "300,001 axes")
def input_of_many_axes(box):
    relus = [layer("ReLU", {}, f"r{i}") for i in range(50)]
    return box.archive(config=sequence(image([1] * 300_000), *relus))


@case("load_model", "more than 20,000 tensors")
def operation_of_a_million_outputs(box):
    split = part("keras.src.ops.numpy", "Split",
                 {"indices_or_sections": 1_000_000, "axis": 1}, "split")  # fmt: skip
    return box.archive(config=sequence(image([1_000_000]), split))


@case("load_model", "one image would call")
def nested_models_that_are_called_twice_each(box):
    twice = [{"args": [tensor("image")], "kwargs": {}}] * 2
    config = sequence(image([4]), layer("ReLU", {}, "relu"))
    for level in range(30):
        inner = config | {"name": f"m{level}", "inbound_nodes": twice}
        config = sequence(image([4]), layer("ReLU", {}, "relu"))
        config["config"]["layers"].append(inner)
    return box.archive(config=config)


@case("load_model", "more than 200,000 lists")
def configuration_of_empty_lists(box):
    config = json.dumps(box.config())[:-1] + ', "x": [' + "[]," * 2_500_000 + "[]]}"
    return box.archive(config=config.encode(), compression=zipfile.ZIP_DEFLATED)


@case("load_model", "damaged, or not a .keras model")
def configuration_with_damaged_compression(box):
    path = box.archive(compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("config.json").header_offset + 30 + len("config.json")
    content = bytearray(path.read_bytes())
    content[start : start + 20] = b"\xff" * 20
    path.write_bytes(content)
    return path


@case("load_model", "holds control characters")
def name_of_a_million_characters(box):
    config = box.config()
    box.layer(config)["name"] = "\x1b" * 1_000_000
    return box.archive(config=config)


@case("load_model", None, "dropped: losses and optimisers are never built")
def optimiser_of_a_nested_model(box):
    config = box.config()
    inner = json.loads(json.dumps(config)) | {"name": "inner"}
    inner["config"]["name"] = "inner"
    inner["inbound_nodes"] = [{"args": [tensor("image")], "kwargs": {}}]
    adam = {"module": "keras.optimizers", "class_name": "Adam", "registered_name": None,
            "config": {"amsgrad": True}}  # fmt: skip
    inner["compile_config"] = {"optimizer": adam, "loss": "mse"}
    inner["build_config"] = {"input_shape": [None, 4, 5, 1]}
    config["config"]["layers"].append(inner)
    return box.archive(config=config)


def eager(box, call, size=18_000):
    """Add a layer called on a constant and on something that looks like a tensor of the model."""
    constant = {"class_name": "__tensor__", "config": {"value": [[[[1.0]]]], "dtype": "float32"}}
    big = layer("UpSampling2D", {"size": [size, size]}, "big")
    big["inbound_nodes"] = [{"args": [constant], "kwargs": {}} | call]
    return with_also(box, big)


@case("load_model", "is called on constants only")
def tensor_beside_the_arguments(box):
    return eager(box, {"more": tensor("image")})


@case("load_model", "is called on constants only")
def tensor_as_an_argument_that_is_dropped(box):
    return eager(box, {"kwargs": {"training": tensor("image")}})


@case("load_model", "expected an initialiser with plain numbers")
def initial_weights_that_are_broadcast(box):
    initial = {"module": "keras.initializers", "class_name": "Constant", "registered_name": None,
               "config": {"value": [[1.0]] * 25_000}}  # fmt: skip
    dense = layer("Dense", {"units": 25_000, "bias_initializer": initial}, "dense")
    return box.archive(config=sequence(image([2]), dense))


@case("load_model", "is built for the shape")
def constants_of_a_build_shape(box):
    normal = layer("Normalization", {"axis": -1, "mean": 0.0, "variance": 1.0}, "normal")
    normal["build_config"] = {"input_shape": [None, 300_000_000]}
    return box.archive(config=sequence(image([3]), normal))


@case("load_model", LARGE)
def constants_of_a_batch(box):
    normal = layer("Normalization", {"axis": 0, "mean": 0.0, "variance": 1.0}, "normal")
    config = sequence(image([1]), normal)
    config["config"]["layers"][0]["config"]["batch_shape"] = [250_000_000, 1]
    return box.archive(config=config)


@case("load_model", "which is code from outside Keras or not a part")
def metric_in_an_argument(box):
    metric = {"module": "keras.metrics", "class_name": "AUC", "registered_name": None,
              "config": {"num_thresholds": 20_000_000}}  # fmt: skip
    return argument(box, metric)


@case("load_model", "is used in several places")
def nested_model_that_is_shared(box):
    inner = sequence(image([4]), layer("ReLU", {}, "relu")) | {"name": "a", "shared_object_id": 1}
    inner["inbound_nodes"] = [{"args": [tensor("image")], "kwargs": {}}]
    again = inner | {"name": "b", "config": {"name": "b"}}
    config = sequence(image([4]), layer("ReLU", {}, "relu"))
    config["config"]["layers"] += [inner, again]
    return box.archive(config=config)
