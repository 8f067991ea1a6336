"""Every model of the zoo, by kind."""

from collections.abc import Mapping

from tests.zoo import applications, conventions, heads, kinds, tutorials
from tests.zoo.specimen import Build

SMALL: Mapping[str, Mapping[str, Build]] = {
    "pixels": conventions.SPECIMENS,
    "heads": heads.SPECIMENS,
    "kinds": kinds.KINDS,
    "layers": kinds.LAYERS,
}

LARGE: Mapping[str, Mapping[str, Build]] = {
    "keras.applications": applications.SPECIMENS,
    "tutorials": tutorials.SPECIMENS,
}

ALL: Mapping[str, Mapping[str, Build]] = {**LARGE, **SMALL}
