"""The function `train`: fit, evaluate and save a network of the articles in one call."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mnist_xai.data import Dataset, load_data, normalise, training_batches
from mnist_xai.evaluation import Evaluation, evaluate
from mnist_xai.io.checkpoint import Checkpoint, versions
from mnist_xai.io.files import check_writable, unfinished_path, write_atomically
from mnist_xai.io.locks import output_lock
from mnist_xai.io.readers import DataError
from mnist_xai.io.saving import card_path, check_model_path, load_model, model_bytes
from mnist_xai.model_builder import build_model
from mnist_xai.recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Recipe", "TrainResult", "evaluate", "load_model", "train"]


@dataclass(frozen=True, eq=False)
class TrainResult:
    """The result of a training.

    Attributes:
        model: The trained network, float32.
        history: Each metric by name, one value for each epoch.
        evaluation: The network's evaluation on the test images.
        card: The model card, which is also written beside a saved model.
        path: The saved model; None when it was not saved.
    """

    model: keras.Model
    history: dict[str, list[float]]
    evaluation: Evaluation
    card: dict[str, Any]
    path: Path | None


def train(
    model: str = "cnn",
    *,
    data: str | os.PathLike[str] | Dataset = "mnist",
    recipe: str | Recipe = "default",
    seed: int = 0,
    save_to: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    tensorboard: str | os.PathLike[str] | None = None,
    csv: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> TrainResult:
    """Build, fit, evaluate and save a network of the articles.

    AdamW minimises the cross-entropy `-Σ_c y_c log softmax(z)_c` over warped images. On one
    machine the result is a function of (model, data, recipe, seed), to the last bit. With
    `save_to`, a training that was stopped or killed can be resumed: the same call continues after
    the last complete epoch and gives the same bytes as an uninterrupted run.

    Args:
        model: One of `MODELS`.
        data: A data set, or anything that `load_data` takes.
        recipe: One of `RECIPES`, or a recipe.
        seed: Seed of the initial weights, the order and the warps; at least 0.
        save_to: The model file to write, ending in `.keras`; its card is written beside it.
        overwrite: Whether existing files at `save_to` may be replaced.
        tensorboard: A folder for TensorBoard's logs.
        csv: A file for the history, one line for each epoch.
        callbacks: Additional Keras callbacks, called after the built-in ones.
        progress: Whether to show a progress bar.

    Returns:
        The model with its history, evaluation and card.

    Raises:
        ValueError: For an unknown name, a negative seed, or fewer images than one batch.
        OutputExistsError: When a file at `save_to` exists and `overwrite` is False.
        OutputBusyError: When another process is training to `save_to`.
        DataError: When `load_data` raises it, or without training images.
        DataUnavailableError: When `load_data` raises it.

    Source: document 000, sections 8.2 and 8.3.
    """
    recipe = _recipe(recipe)
    if seed < 0:
        raise ValueError(f"seed: expected a number of at least 0; got {seed}")
    target = Path(save_to) if save_to else None
    history_file = Path(csv) if csv else None
    unfinished = target and unfinished_path(target)
    # Beside an unfinished training, existing outputs may belong to this run.
    _check_outputs(target, overwrite=overwrite or bool(unfinished and unfinished.exists()))
    _check_logs(tensorboard, history_file)
    with output_lock(target):
        dataset = data if isinstance(data, Dataset) else load_data(data)
        if not len(dataset.train_images):
            raise DataError(f"{dataset.name}: expected training images, in train/; got none")
        commit = _commit()  # At the start: the code may be edited during the training.
        identity = _identity(model, dataset, recipe, seed)
        checkpoint = Checkpoint(unfinished, identity)
        # A run with epochs left has written no outputs: existing ones are not its own.
        if checkpoint.epochs() < recipe.epochs:
            _check_outputs(target, overwrite=overwrite)
        loggers = [*_loggers(tensorboard, history_file, checkpoint), *callbacks]
        trained, validation, evaluation = _fit_and_evaluate(
            model, dataset, recipe, seed, checkpoint, loggers, progress
        )
        # After a kill between the last epoch and its line, no epoch is left to write the line.
        if history_file:
            write_atomically(history_file, _history_csv(checkpoint.history))
        card = _card(identity, dataset, trained, validation, evaluation) | {"commit": commit}
        if target:
            card = _save(trained, card, target, overwrite=overwrite)
            checkpoint.remove()
    return TrainResult(trained, checkpoint.history, evaluation, card, target)


def _check_outputs(target: Path | None, *, overwrite: bool) -> None:
    """Check before the training that model and card can be written after it."""
    if target:
        check_model_path(target)
        for path in (target, card_path(target)):
            check_writable(path, overwrite=overwrite)


def _check_logs(tensorboard: str | os.PathLike[str] | None, history_file: Path | None) -> None:
    """Check before the training that logs and history can be written during it."""
    if tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "tensorboard: expected the package tensorboard for the logs; install it with "
            "pip install 'mnist-xai[tensorboard]'"
        )
    if tensorboard and Path(tensorboard).is_file():
        raise NotADirectoryError(f"tensorboard: expected a folder; {tensorboard} is a file")
    if history_file:
        check_writable(history_file, overwrite=True)


def _save(
    trained: keras.Model, card: dict[str, Any], target: Path, *, overwrite: bool
) -> dict[str, Any]:
    """Write model and card, and return the card with the model's hash.

    Without `overwrite`, files that appeared during the training are not replaced.
    """
    content = model_bytes(trained, target)
    card = card | {"file_sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(target, content, overwrite=overwrite)
    write_atomically(card_path(target), json.dumps(card, indent=2) + "\n", overwrite=overwrite)
    return card


def _fit_and_evaluate(
    model: str,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint,
    loggers: list[keras.callbacks.Callback],
    progress: bool,
) -> tuple[keras.Model, Evaluation, Evaluation]:
    """Return the trained network, and its evaluations on the validation and the test images."""
    shape, classes = dataset.image_shape, len(dataset.class_names)
    build = partial(build_model, model, input_shape=shape, classes=classes, seed=seed)
    split, learner = _split(dataset, recipe), build(dtype=checkpoint.fingerprint["precision"])
    _fit(learner, split, recipe, seed, checkpoint, loggers, progress)

    trained = build()
    trained.set_weights(learner.get_weights())
    held_out = normalise(split.validation_images), split.validation_labels
    if recipe.calibrate:
        _divide_logits(trained, evaluate(trained, *held_out).best_temperature())
    validation = evaluate(trained, *held_out)
    evaluation = evaluate(trained, normalise(dataset.test_images), dataset.test_labels)
    return trained, validation, evaluation


def _recipe(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise ValueError(f"recipe: expected one of {', '.join(RECIPES)}; got {recipe!r}")
    return RECIPES[recipe]


def _identity(model: str, dataset: Dataset, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return everything that the trained weights are a function of, on one machine."""
    return {
        "model": model,
        "data": dataset.sha256,
        "recipe": asdict(recipe),
        "seed": seed,
        "precision": "mixed_bfloat16" if recipe.bfloat16 and _multiplies_bfloat16() else "float32",
        "versions": versions(),
    }


@dataclass(frozen=True, eq=False)
class _Split:
    """The images to train on and the images to validate on."""

    images: NDArray[np.uint8]
    labels: NDArray[np.integer]
    validation_images: NDArray[np.uint8]
    validation_labels: NDArray[np.integer]


def _split(dataset: Dataset, recipe: Recipe) -> _Split:
    images, labels = dataset.train_images, dataset.train_labels
    if recipe.held_out:
        # The same images for every seed, so that recipes and seeds can be compared.
        order = np.random.default_rng(0).permutation(len(images))
        held_out, trained_on = np.split(order, [max(1, round(recipe.held_out * len(images)))])
        split = _Split(images[trained_on], labels[trained_on], images[held_out], labels[held_out])
    else:
        count = recipe.validation_steps * recipe.batch_size
        split = _Split(images, labels, dataset.test_images[:count], dataset.test_labels[:count])
    if len(split.images) < recipe.batch_size:
        raise ValueError(
            f"data: expected at least {recipe.batch_size} training images (one batch); "
            f"{dataset.name} leaves {len(split.images)} after validation images are held out"
        )
    return split


def _fit(
    model: keras.Model,
    split: _Split,
    recipe: Recipe,
    seed: int,
    checkpoint: Checkpoint,
    loggers: list[keras.callbacks.Callback],
    progress: bool,
) -> None:
    steps = recipe.steps_per_epoch or len(split.images) // recipe.batch_size
    # Without jit_compile: on a CPU, XLA makes these small convolutions slower.
    model.compile(
        optimizer=_optimizer(recipe, steps * recipe.epochs),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    done = checkpoint.restore(model)
    if done and progress:
        # print: it belongs to the progress bar that Keras prints.
        print(f"Resuming after epoch {done} of {recipe.epochs} from {checkpoint.path}")  # noqa: T201
    classes = model.output_shape[-1]
    batches = training_batches(
        split.images,
        split.labels,
        batch_size=recipe.batch_size,
        classes=classes,
        seed=seed,
        augmentation=recipe.augmentation,
        first_step=done * steps,
    )
    averaging = [keras.callbacks.SwapEMAWeights()] if recipe.averaging else []
    model.fit(
        batches,
        shuffle=False,  # `training_batches` has shuffled them.
        initial_epoch=done,
        epochs=recipe.epochs,
        steps_per_epoch=steps,
        validation_data=(
            normalise(split.validation_images),
            keras.utils.to_categorical(split.validation_labels, classes),
        ),
        validation_batch_size=500,
        callbacks=[*averaging, checkpoint, *loggers],
        # A terminal gets a bar that redraws itself; a file gets one line for each epoch.
        verbose=(1 if sys.stdout.isatty() else 2) if progress else 0,
    )


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = recipe.learning_rate
    if recipe.cosine:
        warmup = round(recipe.warmup * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else recipe.learning_rate,
            decay_steps=steps - warmup,
            warmup_target=recipe.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=recipe.weight_decay,
        use_ema=recipe.averaging > 0,
        ema_momentum=recipe.averaging or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _divide_logits(model: keras.Model, temperature: float) -> None:
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel / temperature, bias / temperature])


def _loggers(
    tensorboard: str | os.PathLike[str] | None,
    history_file: Path | None,
    checkpoint: Checkpoint,
) -> list[keras.callbacks.Callback]:
    loggers: list[keras.callbacks.Callback] = []
    if tensorboard:
        loggers.append(keras.callbacks.TensorBoard(os.fspath(tensorboard), write_graph=False))
    if history_file:
        # The whole history each time, so that a resumed training has no gap and no double line.
        loggers.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda *_: write_atomically(
                    history_file, _history_csv(checkpoint.history)
                )
            )
        )
    return loggers


def _history_csv(history: dict[str, list[float]]) -> str:
    rows = zip(*history.values(), strict=True)
    lines = [",".join(["epoch", *history])]
    lines += [",".join([str(i), *map(repr, row)]) for i, row in enumerate(rows, start=1)]
    return "\n".join(lines) + "\n"


def _multiplies_bfloat16() -> bool:
    """Return whether the hardware multiplies bfloat16; emulating it is slow."""
    if tf.config.list_physical_devices("GPU"):
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def _commit() -> str | None:
    """Return the commit of the checkout that contains this package, marked when it is modified."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(describe, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _card(
    identity: dict[str, Any],
    dataset: Dataset,
    model: keras.Model,
    validation: Evaluation,
    test: Evaluation,
) -> dict[str, Any]:
    return {
        **identity,
        "parameters": model.count_params(),
        "data": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "training_images": len(dataset.train_images),
            "test_images": len(dataset.test_images),
        },
        "validation": {"images": len(validation.labels), **validation.summary()},
        "test": {
            "images": len(test.labels),
            **test.summary(),
            "per_class": test.per_class(dataset.class_names),
        },
    }
