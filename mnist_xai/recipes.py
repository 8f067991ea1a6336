"""Recipes: how a network is trained, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mnist_xai.data import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, as data.

    Attributes:
        epochs: Number of epochs.
        batch_size: Images in a batch.
        steps_per_epoch: Batches in an epoch; None for one pass over the training images.
        learning_rate: Largest learning rate.
        warmup: Share of all steps in which the learning rate rises from 0.
        cosine: Whether it then falls to 0 along half a cosine; else it stays.
        weight_decay: AdamW's decay of kernels; with 0 the optimiser is Adam.
        averaging: Momentum of the exponential average of the weights, which then is the
            result; 0 for none.
        label_smoothing: Probability spread over all classes in the target.
        augmentation: How images are warped; None for not at all.
        held_out: Share of the training images kept apart for validation.
        validation_steps: With `held_out` 0, the number of batches of the test images that
            serve for validation, which is what the article does and nobody should.
        calibrate: Whether to divide the logits, in the end, by the temperature at which the
            held-out images are best predicted. No prediction changes; label smoothing alone
            would leave the network less sure than it is right.
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


# Chosen on held-out training images; the test images had no say.
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
    # For a few thousand images: an epoch is several passes over them, and the average short.
    "small": replace(_DEFAULT, epochs=20, steps_per_epoch=100, averaging=0.99, held_out=1 / 10),
    # Document 000, section 8.2, to the letter.
    "article": Recipe(
        epochs=10, batch_size=32, steps_per_epoch=6000 // 32, validation_steps=1000 // 32
    ),
}
"""The recipes by name, the best known for the case study first."""
