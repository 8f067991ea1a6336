"""Recipes: the hyper-parameters of a training, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mnist_xai.data import Augmentation


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of a training.

    Attributes:
        epochs: Number of epochs.
        batch_size: Images in a batch.
        steps_per_epoch: Batches in an epoch; None for one pass over the training images.
        learning_rate: Largest learning rate.
        warmup: Fraction of all steps in which the learning rate rises from 0.
        cosine: Whether the learning rate then falls to 0 along half a cosine; otherwise it stays.
        weight_decay: AdamW's decay of kernels; with 0 the optimiser is Adam.
        averaging: Momentum of the exponential average of the weights, which is then the
            result; 0 for no averaging.
        label_smoothing: Probability that the target spreads over all classes.
        augmentation: How images are warped; None for no warps.
        held_out: Fraction of the training images that is used for validation only.
        validation_steps: With `held_out` 0, the number of batches of test images used for
            validation. The article does this; do not do it in new recipes.
        calibrate: Whether to divide the logits, after the training, by the temperature with the
            lowest cross-entropy on the held-out images. Predictions do not change; without it,
            label smoothing leaves the confidence below the accuracy.
        bfloat16: Whether to multiply in bfloat16 where the processor has instructions for it.
    """

    epochs: int
    batch_size: int
    steps_per_epoch: int | None = None
    learning_rate: float = 1e-3
    warmup: float = 0.0
    cosine: bool = False
    weight_decay: float = 0.0
    averaging: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Augmentation | None = None
    held_out: float = 0.0
    validation_steps: int = 0
    calibrate: bool = False
    bfloat16: bool = False


# Chosen on held-out training images; the test images were not used.
_DEFAULT = Recipe(
    epochs=25,
    batch_size=128,
    learning_rate=4e-3,
    warmup=0.1,
    cosine=True,
    weight_decay=5e-2,
    averaging=0.999,
    label_smoothing=0.1,
    augmentation=Augmentation(rotation=10, scale=0.1, shear=0.1, translation=2),
    held_out=1 / 30,
    calibrate=True,
    bfloat16=True,
)

RECIPES: Mapping[str, Recipe] = {
    "default": _DEFAULT,
    # For a few thousand images: several passes in an epoch, and averaging over fewer steps.
    "small": replace(_DEFAULT, epochs=20, steps_per_epoch=100, averaging=0.99, held_out=1 / 10),
    # Document 000, section 8.2, unchanged.
    "article": Recipe(
        epochs=10, batch_size=32, steps_per_epoch=6000 // 32, validation_steps=1000 // 32
    ),
}
"""The recipes by name; the first is the best known for the case study."""
