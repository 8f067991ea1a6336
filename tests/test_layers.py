"""Which module may import which, and which may know what about Keras.

The rules on imports are the contracts in `setup.cfg`, checked by import-linter. Imports inside
functions count; those for type checkers only (`if TYPE_CHECKING:`) do not.
"""

import ast
from configparser import ConfigParser
from pathlib import Path

import grimp
import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]
CONFIGURATION = ConfigParser()
CONFIGURATION.read(ROOT / "setup.cfg")
CONTRACT = "importlinter:contract:"


@pytest.mark.parametrize(
    "contract", [s.removeprefix(CONTRACT) for s in CONFIGURATION if s.startswith(CONTRACT)]
)
def test_every_import_keeps_the_contract(contract):
    # On failure, pytest shows what this prints: each import that breaks the contract.
    assert lint_imports(str(ROOT / "setup.cfg"), limit_to_contracts=(contract,), no_cache=True) == 0


def test_only_the_top_rooms_import_the_package_itself():
    # `import mnist_xai as mx` gives access to everything, and so would hide an upward import.
    graph = grimp.build_graph("mnist_xai", cache_dir=None)
    importers = graph.find_modules_that_directly_import("mnist_xai")
    assert {name.split(".")[1] for name in importers} <= {"cli", "reproduce"}


def modules(*rooms):
    """Return the syntax tree of every module in the rooms, by path in the package."""
    package = ROOT / "mnist_xai"
    paths = [path for room in rooms for path in sorted((package / room).rglob("*.py"))]
    return {
        path.relative_to(package).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths
    }


def attributes(tree):
    """Return every attribute access in a module."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]


def test_one_module_touches_the_private_graph_of_keras():
    private = {"_functional", "_run_through_graph", "_flatten_layers"}
    found = {
        path
        for path, tree in modules(".").items()
        if private & {node.attr for node in attributes(tree)}
    }
    assert found == {"interpret/core/graph.py"}


def test_one_module_touches_the_nodes_of_keras_layers():
    private = {"_inbound_nodes", "_outbound_nodes", "_keras_history"}
    found = {
        path
        for path, tree in modules(".").items()
        if private & {node.attr for node in attributes(tree)}
    }
    assert found == {"interpret/core/tracing.py"}


# `affine` and `layer_kinds` say which kind of step a layer is, and everything else asks them. The
# other modules need something that a kind does not say.
LISTS_OF_LAYERS = {
    "interpret/core/affine.py": "layers with weights, z = W x + b, and where they keep W and b",
    "interpret/core/attention.py": "attention layers and the parts that they consist of",
    "interpret/core/normalisation.py": "normalisations, and where they keep gain and offset",
    "interpret/core/layer_kinds.py": "the kind of every layer without weights",
    "interpret/core/graph.py": "layers that apply their activation last",
    "interpret/core/linear_stem.py": "layers that scale pixels before the first convolution",
    "interpret/core/shortcuts.py": "max poolings, which take a ReLU before them along",
    "interpret/inspect/receptive_field.py": "normalisations that read all along an axis",
    "quality/axioms/rewriting.py": "layers that allow a rewriting of the network",
}


def layer_types(tree):
    """Return the Keras layer classes that a module names, base class and activation aside."""
    names = {
        node.attr
        for node in attributes(tree)
        if ast.unparse(node.value) in ("layers", "keras.layers") and node.attr[0].isupper()
    }
    return names - {"Layer", "Activation"}


def test_only_the_listed_modules_decide_by_lists_of_layer_types():
    found = {p for p, tree in modules("interpret", "quality").items() if len(layer_types(tree)) > 2}
    assert found == set(LISTS_OF_LAYERS)
