"""Hostile model files. None is an exploit: the code in them would only create a file."""

import base64
import gzip
import json
import marshal
import os
import pickle
import stat
import warnings
import zipfile

import h5py
import numpy as np

from tests.hostile.corpus import Evil, case, continue_stream, good_model

CODE = "which is code from outside Keras"


def marshalled(mark):
    """Return a Lambda layer's function as Keras writes it: marshalled, in base64."""
    scope = {}
    exec(f"def function(x):\n    open({str(mark)!r}, 'w').close()\n    return x", scope)
    code = base64.b64encode(marshal.dumps(scope["function"].__code__)).decode()
    value = {"code": code, "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": value}


def function(module, name, **more):
    return {"module": module, "class_name": "function", "config": name,
            "registered_name": name} | more  # fmt: skip


def changed(box, change, layer="out"):
    config = box.config()
    change(box.layer(config, layer))
    return box.archive(config=config)


def replace(module, name, config=None, **more):
    """Return a change that replaces a layer's class, and keeps its name and calls."""

    def change(part):
        part |= {"module": module, "class_name": name, "registered_name": None}
        part["config"] = {"name": part["config"]["name"], **(config or {})}
        part.pop("build_config", None)
        part |= more

    return change


def setting(**settings):
    return lambda part: part["config"].update(settings)


# --- Code in the configuration -----------------------------------------------------------


@case("load_model", CODE, "marshalled code in a Lambda layer")
def lambda_layer(box):
    return changed(box, replace("keras.layers", "Lambda", {"function": marshalled(box.mark)}))


@case("load_model", CODE, "CVE-2025-9906: safe mode switched off from inside the file")
def lambda_layer_that_switches_safe_mode_off(box):
    config = box.config() | {"safe_mode": False}
    part = box.layer(config, "flat")
    replace("keras.config", "enable_unsafe_deserialization", {})(part)
    lambda_part = box.layer(config)
    replace("keras.layers", "Lambda", {"function": marshalled(box.mark)})(lambda_part)
    return box.archive(config=config)


@case("load_model", CODE, "CVE-2025-9906")
def safe_mode_switched_off_by_a_function(box):
    off = function("keras.config", "enable_unsafe_deserialization")
    return changed(box, setting(activation=off))


@case("load_model", CODE, "CVE-2025-9906: the same, in the place of a layer's list")
def safe_mode_switched_off_before_the_layers(box):
    config = box.config()
    config["config"]["layers"].insert(0, function("keras.config", "enable_unsafe_deserialization"))
    return box.archive(config=config)


@case("load_model", CODE)
def lambda_without_a_module(box):
    change = replace(None, "Lambda", {"function": marshalled(box.mark)})
    return changed(box, lambda part: (change(part), part.pop("module")))


@case("load_model", CODE)
def lambda_under_a_deep_module(box):
    there = "keras.src.layers.core.lambda_layer"
    return changed(box, replace(there, "Lambda", {"function": marshalled(box.mark)}))


@case("load_model", CODE)
def lambda_in_a_time_distributed_in_a_bidirectional(box):
    inner = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None,
             "config": {"name": "x", "function": marshalled(box.mark)}}  # fmt: skip
    middle = {"module": "keras.layers", "class_name": "TimeDistributed", "registered_name": None,
              "config": {"name": "y", "layer": inner}}  # fmt: skip
    return changed(box, replace("keras.layers", "Bidirectional", {"layer": middle}))


@case("load_model", CODE, "CVE-2025-1550: functions of any module, by configuration")
def function_of_the_operating_system(box):
    return changed(box, setting(activation=function("os", "system")))


@case("load_model", CODE, "CVE-2025-1550")
def class_of_the_standard_library(box):
    arguments = {"args": f"touch {box.mark}", "shell": True}
    return changed(box, replace("subprocess", "Popen", arguments))


@case("load_model", CODE, "CVE-2025-1550")
def layer_of_a_module_beside_the_file(box):
    return changed(box, replace("canary_module", "Layer"))


@case("load_model", CODE)
def initialiser_of_a_module_beside_the_file(box):
    evil = {"module": "canary_module", "class_name": "Layer", "config": {}}
    return changed(box, setting(kernel_initializer=evil))


@case("load_model", CODE)
def initialiser_deep_inside_a_wrapper(box):
    evil = {"module": "canary_module", "class_name": "Layer", "config": {}}
    inner = {"module": "keras.layers", "class_name": "Dense", "registered_name": None,
             "config": {"units": 3, "kernel_initializer": evil}}  # fmt: skip
    return changed(box, replace("keras.layers", "TimeDistributed", {"layer": inner}))


@case("load_model", CODE)
def activation_of_builtins(box):
    return changed(box, setting(activation=function("builtins.builtins", "exec")))


@case("load_model", "Keras cannot load it")
def builtin_function_that_keras_does_not_have(box):
    return changed(box, setting(activation=function("builtins", "exec")))


@case("load_model", CODE)
def regularizer_as_a_lambda(box):
    return changed(box, setting(kernel_regularizer=marshalled(box.mark)))


@case("load_model", CODE)
def registered_name_instead_of_the_class(box):
    return changed(box, lambda part: part.update(registered_name="canary_module>run"))


@case("load_model", None, "dropped: losses are never built")
def custom_loss_in_the_compile_config(box):
    config = box.config()
    config["compile_config"] = {"loss": function("canary_module", "run"), "optimizer": "adam"}
    return box.archive(config=config)


@case("load_model", None, "dropped: metrics are never built")
def custom_metric_of_a_nested_compile_config(box):
    evil = {"module": "canary_module", "class_name": "Layer", "config": {}}
    return changed(box, lambda part: part.update(compile_config={"metrics": [[evil]]}))


@case("load_model", CODE)
def code_in_the_build_config(box):
    evil = {"module": "canary_module", "class_name": "Layer", "config": {}}
    return changed(box, lambda part: part.update(build_config={"input_shape": evil}))


@case("load_model", CODE)
def class_without_a_configuration(box):
    evil = {"module": "canary_module", "class_name": "Layer"}
    return changed(box, setting(kernel_initializer=evil))


@case("load_model", CODE, "CVE-2025-8747: functions of Keras that are no part of a network")
def download_by_keras(box):
    change = replace("keras.utils", "get_file", {})
    call = {"args": ["x"], "kwargs": {"origin": "http://127.0.0.1:9/x"}}
    return changed(box, lambda part: (change(part), part.update(inbound_nodes=[call])))


@case("load_model", CODE, "CVE-2025-8747")
def download_by_keras_as_an_activation(box):
    return changed(box, setting(activation=function("keras.utils", "get_file")))


@case("load_model", CODE, "CVE-2025-12060: an archive that get_file unpacks outside")
def download_and_unpack_by_keras(box):
    inner = function("keras.src.utils.file_utils", "extract_archive")
    return changed(box, setting(activation=inner))


@case("load_model", CODE, "CVE-2025-8747")
def model_loaded_by_a_model(box):
    box.archive("other.keras")
    inner = function("keras.saving", "load_model")
    return changed(box, setting(activation=inner))


@case("load_model", CODE, "CVE-2026-12481: deserialize and clone_model outside safe mode")
def deserialize_as_an_activation(box):
    return changed(box, setting(activation=function("keras.activations", "deserialize")))


@case("load_model", CODE, "CVE-2026-12481")
def model_cloned_by_a_model(box):
    return changed(box, setting(activation=function("keras.models", "clone_model")))


@case("load_model", CODE, "CVE-2026-1462: TFSMLayer loads a SavedModel")
def saved_model_as_a_layer(box):
    (box.inside / "saved").mkdir()
    (box.inside / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    change = replace("keras.layers", "TFSMLayer", {"filepath": "saved", "call_endpoint": "serve"})
    return changed(box, change)


@case("load_model", CODE, "CVE-2025-49655: a pickled module in a layer")
def torch_module_as_a_layer(box):
    return changed(box, replace("keras.layers", "TorchModuleWrapper", {"module": "gASVAAAA"}))


@case("load_model", CODE)
def callback_as_a_layer(box):
    change = replace("keras.callbacks", "CSVLogger", {"filename": str(box.mark)})
    return changed(box, change)


@case("load_model", CODE)
def tensorflow_type_by_name(box):
    spec = {"class_name": "__typespec__", "spec_name": "Layer", "module": "canary_module",
            "registered_name": None, "config": []}  # fmt: skip
    return changed(box, setting(kernel_initializer=spec))


@case("load_model", CODE)
def private_module_of_keras(box):
    return changed(box, replace("keras.src.legacy.saving.legacy_h5_format", "h5py"))


@case("load_model", CODE)
def module_that_is_not_a_name(box):
    return changed(box, lambda part: part.update(module=["os"], class_name={"a": 1}))


@case("load_model", CODE)
def second_module_in_the_same_object(box):
    config = json.dumps(box.config())
    twice = '"module": "keras.layers", "module": "canary_module"'
    return box.archive(config=config.replace('"module": "keras.layers"', twice, 1).encode())


# --- Files that a configuration names ----------------------------------------------------


@case("load_model", "which reads files", "CVE-2025-12058: a vocabulary that is a path")
def vocabulary_from_a_secret_file(box):
    return changed(box, replace("keras.layers", "StringLookup", {"vocabulary": str(box.secret)}))


@case("load_model", "which reads files", "CVE-2025-12058: a vocabulary that is an address")
def vocabulary_from_the_network(box):
    address = {"vocabulary": "http://127.0.0.1:9/words"}
    return changed(box, replace("keras.layers", "TextVectorization", address))


@case("load_model", "which reads files", "CVE-2025-12058")
def integer_vocabulary_in_a_wrapper(box):
    inner = {"module": "keras.layers", "class_name": "IntegerLookup", "registered_name": None,
             "config": {"vocabulary": str(box.secret)}}  # fmt: skip
    return changed(box, replace("keras.layers", "TimeDistributed", {"layer": inner}))


@case("load_model", "assets/words.txt")
def vocabulary_among_the_assets(box):
    return box.archive(more={"assets/words.txt": b"a\nb\n"})


# --- The archive -------------------------------------------------------------------------


@case("load_model", r"holds \.\./evil", "GHSA-hqp4-2352-xf5r: members that leave the folder")
def member_above_the_folder(box):
    return box.archive(more={"../evil": b"x"})


@case("load_model", "holds /", "GHSA-hqp4-2352-xf5r")
def member_with_an_absolute_name(box):
    return box.archive(more={f"{box.mark}": b"x"})


@case("load_model", "is a link in the archive")
def weights_that_are_a_link(box):
    path = box.inside / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", good_model()["config.json"])
        link = zipfile.ZipInfo("model.weights.h5")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(box.secret))
    return path


@case("load_model", "holds assets more than the|holds assets;", "CVE-2025-12060")
def folder_that_is_a_link(box):
    path = box.archive()
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("assets")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(box.outside))
        archive.writestr("assets/evil", b"x")
    return path


@case("load_model", "would unpack to", "a zip bomb")
def bomb_in_the_weights(box):
    return box.archive(weights=bytes(300 << 20), compression=zipfile.ZIP_DEFLATED)


@case("load_model", "would unpack to", "a zip bomb")
def bomb_in_the_configuration(box):
    config = b" " * (200 << 20) + json.dumps(box.config()).encode()
    return box.archive(config=config, compression=zipfile.ZIP_DEFLATED)


@case("load_model", "holds bomb", "a zip bomb")
def bomb_in_another_member(box):
    return box.archive(more={"bomb": bytes(100 << 20)}, compression=zipfile.ZIP_DEFLATED)


@case("load_model", "damaged, or not a .keras model")
def member_that_lies_about_its_size(box):
    return continue_stream(box.archive(), "model.weights.h5", claimed=1000, right_checksum=False)


@case("load_model", None, "only the good model is read")
def weights_followed_by_a_bomb(box):
    return continue_stream(box.archive(), "model.weights.h5")


@case("load_model", None, "only the good model is read")
def configuration_followed_by_a_bomb(box):
    return continue_stream(box.archive(), "config.json")


@case("load_model", "expected a member that is stored or deflated")
def member_packed_by_bzip2(box):
    return box.archive(weights=bytes(20 << 20), compression=zipfile.ZIP_BZIP2)


@case("load_model", "expected a member that is stored or deflated")
def member_packed_by_lzma(box):
    return box.archive(weights=bytes(20 << 20), compression=zipfile.ZIP_LZMA)


@case("load_model", "more than once")
def member_twice(box):
    path = box.archive()
    config = box.config()
    setting(activation=function("os", "system"))(box.layer(config))
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", json.dumps(config))
    return path


@case("load_model", "holds member 0")
def thousands_of_members(box):
    return box.archive(more={f"member {i}": b"" for i in range(20_000)})


@case("load_model", "damaged, or not a .keras model")
def member_that_is_encrypted(box):
    content = bytearray(box.archive().read_bytes())
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1
    (box.inside / "model.keras").write_bytes(bytes(content))
    return box.inside / "model.keras"


@case("load_model", r"has no model\.weights\.h5")
def weights_in_a_pickle(box):
    path = box.inside / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", good_model()["config.json"])
        archive.writestr("model.weights.npz", pickle.dumps(np.zeros(3)))
    return path


# --- The configuration as text -----------------------------------------------------------


@case("load_model", "damaged, or not a .keras model|nested more than")
def configuration_nested_deep(box):
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    return box.archive(config=deep)


@case("load_model", "nested more than")
def configuration_nested_less_deep(box):
    return box.archive(config=box.config() | {"x": json.loads("[" * 500 + "]" * 500)})


@case("load_model", "damaged, or not a .keras model")
def number_of_a_million_digits(box):
    config = json.dumps(box.config()).replace('"units": 3', '"units": ' + "9" * 1_000_000)
    return box.archive(config=config.encode())


@case("load_model", "more than 64 bits")
def number_of_a_hundred_digits(box):
    return changed(box, setting(units=10**100))


@case("load_model", "describes no model")
def configuration_that_is_a_list(box):
    return box.archive(config=b"[1, 2]")


@case("load_model", "damaged, or not a .keras model")
def configuration_that_is_no_json(box):
    return box.archive(config=b"\xff\xfe\x00 not json")


@case("load_model", "Keras cannot load it")
def units_that_are_text(box):
    return changed(box, setting(units="many"))


@case("load_model", "Keras cannot load it")
def units_below_zero(box):
    return changed(box, setting(units=-3))


@case("load_model", "Keras cannot load it")
def layers_that_are_a_number(box):
    config = box.config()
    config["config"]["layers"] = 7
    return box.archive(config=config)


@case("load_model", "would make .* numbers", "CVE-2026-0897, from the side of the architecture")
def a_billion_units(box):
    return changed(box, setting(units=10**9))


@case("load_model", "would make .* numbers|Keras cannot load it")
def an_input_of_a_million_pixels_squared(box):
    config = box.config()
    box.layer(config, "image")["config"]["batch_shape"] = [None, 10**6, 10**6, 1]
    return box.archive(config=config)


@case("load_model", "would make .* numbers from one image")
def a_layer_that_enlarges_a_million_times(box):
    change = replace("keras.layers", "UpSampling2D", {"size": [100_000, 100_000]})
    config = box.config()
    part = json.loads(json.dumps(box.layer(config, "flat")))
    change(part)
    part["config"]["name"] = part["name"] = "big"
    tensor = json.loads(json.dumps(part["inbound_nodes"]))
    part["inbound_nodes"] = json.loads(json.dumps(tensor).replace('"conv"', '"image"'))
    config["config"]["layers"].append(part)
    config["config"]["output_layers"] = [["out", 0, 0], ["big", 0, 0]]
    return box.archive(config=config)


@case("load_model", "is called on constants only")
def an_operation_on_a_literal(box):
    config = box.config()
    literal = {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}}
    config["config"]["layers"].append({
        "module": "keras.src.ops.numpy", "class_name": "Tile", "registered_name": "Tile",
        "name": "tile", "config": {"name": "tile", "repeats": [10**10]},
        "inbound_nodes": [{"args": [literal], "kwargs": {}}],
    })  # fmt: skip
    return box.archive(config=config)


@case("load_model", "more than 2,000 layers")
def thousands_of_layers(box):
    config = box.config()
    part = box.layer(config, "flat")
    config["config"]["layers"] += [part] * 5_000
    return box.archive(config=config)


def chain(box, length):
    """Return an architecture of a chain of layers."""
    config = box.config()
    first, flat = box.layer(config, "image"), json.dumps(box.layer(config, "flat"))
    layers, before = [first], "image"
    for number in range(length):
        part = json.loads(flat.replace('"conv"', f'"{before}"').replace('"flat"', f'"f{number}"'))
        replace("keras.layers", "ReLU")(part)
        part["inbound_nodes"][0]["args"][0]["config"]["shape"] = [None, 4, 5, 1]
        layers.append(part)
        before = f"f{number}"
    config["config"] |= {"layers": layers, "output_layers": [before, 0, 0]}
    return config


@case("load_model", "Keras cannot load it")
def layers_too_deep_for_recursion(box):
    return box.archive(config=chain(box, 1_200))


@case("load_model", "are listed before the layers that they use")
def layers_in_the_worst_order(box):
    config = chain(box, 1_000)
    config["config"]["layers"].reverse()
    return box.archive(config=config)


@case("load_model", None)
def some_layers_in_the_wrong_order(box):
    config = chain(box, 400)
    layers = config["config"]["layers"]
    layers[-50:] = reversed(layers[-50:])
    return box.archive(config=config)


# --- Weights -----------------------------------------------------------------------------

KERNEL = "layers/dense/vars/0"


def replaced(make):
    """Return a change that replaces the last layer's kernel."""

    def change(file):
        group, name = file[KERNEL].parent, "0"
        shape = group[name].shape
        del group[name]
        make(group, name, shape)

    return change


def holding(make):
    """Return a change that replaces the kernel by an array or a link."""
    return replaced(lambda group, name, shape: group.__setitem__(name, make(shape)))


@case("load_model", "links to another place", "CVE-2026-1669 / GHSA-3m4q-jmj6-r34q")
def external_link(box):
    with h5py.File(box.outside / "other.h5", "w") as other:
        other["x"] = np.full((12, 3), 7.0)
    link = h5py.ExternalLink(str(box.outside / "other.h5"), "/x")
    return box.archive(weights=box.weights(holding(lambda _: link)))


@case("load_model", "lies in another file", "CVE-2026-1669 / GHSA-3m4q-jmj6-r34q")
def external_storage(box):
    def make(group, name, shape):
        group.create_dataset(name, shape, "f4", external=[(str(box.secret), 0, 144)])

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "lies in another file", "CVE-2026-1669 / GHSA-3m4q-jmj6-r34q")
def virtual_dataset(box):
    with h5py.File(box.outside / "other.h5", "w") as other:
        other.create_dataset("x", data=np.full((12, 3), 7.0, "f4"))

    def make(group, name, shape):
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(str(box.outside / "other.h5"), "x", shape)
        group.create_virtual_dataset(name, layout)

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "links to another place")
def soft_link(box):
    link = h5py.SoftLink("/layers/conv2d/vars/0")
    return box.archive(weights=box.weights(holding(lambda _: link)))


@case("load_model", "links to another place")
def external_link_beside_the_layers(box):
    def change(file):
        file["aside"] = h5py.ExternalLink("/dev/zero", "/x")

    return box.archive(weights=box.weights(change))


@case("load_model", None)
def group_that_holds_itself(box):
    return box.archive(
        weights=box.weights(lambda file: file.__setitem__("layers/again", file["/"]))
    )


@case("load_model", "would unpack to", "CVE-2026-0897: a shape without the numbers")
def shape_of_a_terabyte(box):
    def make(group, name, _):
        group.create_dataset(name, (1 << 20, 1 << 20), "f4", chunks=(1, 64), compression="gzip")

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "would unpack to", "CVE-2026-0897, below the floor of Keras's own guard")
def shape_of_more_than_a_gigabyte(box):
    def make(group, name, _):
        group.create_dataset(name, (320 << 20,), "f4", chunks=(1 << 20,), compression="gzip")

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "in one piece, uncompressed")
def many_shapes_of_a_gigabyte_together(box):
    def make(group, name, _):
        for copy in range(40):
            group.create_dataset(f"{name}{copy}", (4096, 2048), "f4", chunks=(4096, 1))

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "Keras cannot load it|asks for")
def shape_of_another_layer(box):
    return box.archive(weights=box.weights(holding(lambda shape: np.zeros(shape[::-1], "f4"))))


@case("load_model", "expected numbers")
def text_for_numbers(box):
    return box.archive(weights=box.weights(holding(lambda shape: np.full(shape, b"x"))))


@case("load_model", "expected numbers")
def objects_for_numbers(box):
    def make(group, name, _):
        group.create_dataset(name, (3,), h5py.string_dtype())

    return box.archive(weights=box.weights(replaced(make)))


@case("load_model", "expected an array")
def nothing_for_numbers(box):
    return box.archive(weights=box.weights(holding(lambda _: h5py.Empty("f4"))))


@case("load_model", "expected finite weights")
def not_a_number(box):
    return box.archive(weights=box.weights(holding(lambda shape: np.full(shape, np.nan, "f4"))))


@case("load_model", "expected finite weights")
def numbers_that_overflow(box):
    return box.archive(weights=box.weights(holding(lambda shape: np.full(shape, 1e300, "f8"))))


@case("load_model", "Keras cannot load it .*could not be loaded")
def missing_weights(box):
    return box.archive(weights=box.weights(lambda file: file.__delitem__(KERNEL)))


@case("load_model", None)
def weights_for_no_layer(box):
    def change(file):
        file["layers/other/vars/0"] = np.zeros(9, "f4")

    return box.archive(weights=box.weights(change))


@case("load_model", "more than 20,000 objects")
def thousands_of_groups(box):
    def change(file):
        for number in range(20_500):
            file.create_group(f"g{number}")

    return box.archive(weights=box.weights(change))


@case("load_model", None)
def groups_in_groups(box):
    def change(file):
        group = file
        for _ in range(2_000):
            group = group.create_group("g")

    return box.archive(weights=box.weights(change))


@case("load_model", "damaged weights")
def truncated_weights(box):
    return box.archive(weights=good_model()["model.weights.h5"][:2000])


@case("load_model", "damaged weights|Keras cannot load it|expected")
def scrambled_weights(box):
    content = bytearray(good_model()["model.weights.h5"])
    noise = np.random.default_rng(0)
    for place in noise.integers(100, len(content), 200):
        content[place] = noise.integers(256)
    return box.archive(weights=bytes(content))


# --- Other formats under this name -------------------------------------------------------


@case("load_model", "damaged, or not a .keras model")
def pickle_under_the_name_of_a_model(box):
    (box.inside / "model.keras").write_bytes(pickle.dumps(Evil(box.mark)))
    return box.inside / "model.keras"


@case("load_model", "expected a file name that ends in .keras")
def pickle_under_its_own_name(box):
    (box.inside / "model.pkl").write_bytes(pickle.dumps(Evil(box.mark)))
    return box.inside / "model.pkl"


@case("load_model", "expected a file name that ends in .keras", "CVE-2025-9905")
def legacy_format_with_a_lambda(box):
    with h5py.File(box.inside / "model.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(legacy(box))
    return box.inside / "model.h5"


@case("load_model", "damaged, or not a .keras model", "CVE-2025-9905: safe mode does not reach it")
def legacy_format_under_the_name_of_a_model(box):
    with h5py.File(box.inside / "model.keras", "w") as file:
        file.attrs["model_config"] = json.dumps(legacy(box))
    return box.inside / "model.keras"


@case("load_model", CODE, "CVE-2025-9905")
def legacy_architecture_in_an_archive(box):
    return box.archive(config=legacy(box))


def legacy(box):
    """Return a configuration with a Lambda layer, in the format of Keras 2."""
    part = {"class_name": "Lambda", "config": {"name": "l", "function": marshalled(box.mark)}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [part]}}


@case("load_model", "no such model file")
def folder_under_the_name_of_a_model(box):
    (box.inside / "model.keras").mkdir()
    for name, content in good_model().items():
        (box.inside / "model.keras" / name).write_bytes(content)
    return box.inside / "model.keras"


@case("load_model", "expected a file name that ends in .keras")
def saved_model_folder(box):
    (box.inside / "saved").mkdir()
    (box.inside / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    return box.inside / "saved"


@case("load_model", "no such model file")
def pipe_under_the_name_of_a_model(box):
    os.mkfifo(box.inside / "model.keras")
    return box.inside / "model.keras"


@case("load_model", "no such model file")
def endless_device_under_the_name_of_a_model(box):
    (box.inside / "model.keras").symlink_to("/dev/zero")
    return box.inside / "model.keras"


@case("load_model", "damaged, or not a .keras model")
def archive_in_gzip(box):
    path = box.archive()
    path.write_bytes(gzip.compress(path.read_bytes()))
    return path
