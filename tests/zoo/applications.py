"""Twelve families of `keras.applications`, with random weights and the smallest sensible images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from tests.zoo.specimen import CLASSES, Build, Specimen, logits_of, random_pictures, settle


@dataclass(frozen=True)
class Family:
    """A network of `keras.applications` and how it takes pictures.

    Attributes:
        network: Its constructor.
        module: The name of its module, whose `preprocess_input` prepares pictures.
        side: Side of the images.
        pixels: What its owner says when asked for the range; None where the network shows it.
    """

    network: Callable[..., keras.Model]
    module: str
    side: int = 64
    pixels: str | None = None

    def model(self) -> keras.Model:
        """Return the network with random weights, and statistics as after a training."""
        keras.utils.set_random_seed(0)
        model = self.network(weights=None, input_shape=(self.side, self.side, 3), classes=CLASSES)
        return settle(model, self.prepare(random_pictures(16, self.side, seed=1)))

    def prepare(self, pictures: Any) -> Any:
        """Return pictures as the network takes them."""
        prepare = getattr(keras.applications, self.module).preprocess_input
        return prepare(np.array(pictures, np.float32))


_apps = keras.applications
FAMILIES: dict[str, Family] = {
    "ResNet50": Family(_apps.ResNet50, "resnet50", pixels="caffe"),
    "ResNet50V2": Family(_apps.ResNet50V2, "resnet_v2", pixels="tf"),
    "VGG16": Family(_apps.VGG16, "vgg16", pixels="caffe"),
    "MobileNetV2": Family(_apps.MobileNetV2, "mobilenet_v2", pixels="tf"),
    "MobileNetV3Small": Family(_apps.MobileNetV3Small, "mobilenet_v3"),
    "EfficientNetB0": Family(_apps.EfficientNetB0, "efficientnet"),
    "EfficientNetV2B0": Family(_apps.EfficientNetV2B0, "efficientnet_v2"),
    "DenseNet121": Family(_apps.DenseNet121, "densenet", pixels="torch"),
    "InceptionV3": Family(_apps.InceptionV3, "inception_v3", side=75, pixels="tf"),
    "Xception": Family(_apps.Xception, "xception", side=71, pixels="tf"),
    "NASNetMobile": Family(_apps.NASNetMobile, "nasnet", pixels="tf"),
    "ConvNeXtTiny": Family(_apps.ConvNeXtTiny, "convnext"),
}


def specimen(name: str) -> Specimen:
    """Return a family's network with pictures after its own `preprocess_input`."""
    family = FAMILIES[name]
    model = family.model()
    black, white = (family.prepare(np.full((1, 1, 1, 3), v)).ravel() for v in (0, 255))
    return Specimen(
        model,
        family.prepare(random_pictures(2, family.side)),
        logits_of(model),
        tuple(black),
        tuple(white),
        pixels=family.pixels,
    )


SPECIMENS: dict[str, Build] = {name: partial(specimen, name) for name in FAMILIES}
