"""Compare the speed of our training with plain `fit`, the article's script and a PyTorch twin.

    python benchmarks/training.py --torch-python PATH/TO/python

Each contestant trains the case study's network on MNIST in its own process until it classifies 99 %
of the test images correctly. The accuracy is measured after every 12,800 images, with the clock
stopped. The contestants take turns for three rounds. The PyTorch twin needs an environment with
torch; it is left out without `--torch-python`.

- ours: the default recipe, which warps every image;
- ours, in 2 epochs: the same recipe with a schedule of two epochs and a shorter average;
- plain fit: `model.fit` on arrays in memory, with Keras's defaults except the batch size of 128;
- plain fit, no XLA: the same with `jit_compile=False`;
- article: its script, `ImageDataGenerator` on folders of PNGs, repaired only as far as necessary to
  run (grey images);
- PyTorch: the same network and optimiser on tensors in memory, float32, no augmentation.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

GOAL = 0.99
EVERY = 12_800  # Training images between two evaluations.


class Clock:
    """Counts images and seconds of training, without the evaluations."""

    def __init__(self) -> None:
        self.images, self.seconds, self.reached = 0, 0.0, None
        self._marks: list[tuple[int, float]] = []
        self._started = 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self, images: int) -> None:
        self.seconds += time.perf_counter() - self._started
        self.images += images
        self._marks.append((self.images, self.seconds))

    def look(self, accuracy: float) -> bool:
        """Record an accuracy on the test images; return whether training may stop."""
        if self.reached is None and accuracy >= GOAL:
            self.reached = self.seconds
        return self.reached is not None and len(self._marks) >= 4

    def result(self) -> dict:
        # The first interval includes compilation and warm-up.
        (images, seconds), (last_images, last_seconds) = self._marks[0], self._marks[-1]
        return {
            "images_per_second": (last_images - images) / (last_seconds - seconds),
            "seconds_to_99": self.reached,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def keras_clock(clock: Clock, images_a_step: int):
    """Return a callback that runs the clock and stops the training at the goal."""
    import keras

    class Callback(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.steps = 0
            clock.start()

        def on_train_batch_end(self, batch, logs=None):
            self.steps = batch + 1

        def on_test_begin(self, logs=None):
            clock.stop(self.steps * images_a_step)

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = clock.look(logs["val_accuracy"])

    return Callback()


def ours(folder: Path, **changes) -> dict:
    import mnist_xai as mx

    recipe = replace(mx.RECIPES["default"], **changes)
    steps = EVERY // recipe.batch_size
    total = recipe.epochs * 60_000 // recipe.batch_size
    recipe = replace(
        recipe, steps_per_epoch=steps, epochs=total // steps,
        held_out=0.0, validation_steps=10_000 // recipe.batch_size, calibrate=False,
    )  # fmt: skip
    clock = Clock()
    mx.train(recipe=recipe, callbacks=[keras_clock(clock, recipe.batch_size)], progress=False)
    return clock.result()


def plain_fit(folder: Path, **options) -> dict:
    import mnist_xai as mx

    data = mx.load_data("mnist")
    model = mx.build_model("cnn", seed=0)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    clock = Clock()
    model.fit(
        mx.normalise(data.train_images), data.train_labels, batch_size=128, epochs=100,
        steps_per_epoch=EVERY // 128, verbose=0, callbacks=[keras_clock(clock, 128)],
        validation_data=(mx.normalise(data.test_images), data.test_labels),
    )  # fmt: skip
    return clock.result()


def article(folder: Path) -> dict:
    """Run the script of document 000, section 8.2; only `color_mode` was added."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
    from keras.models import Sequential
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    model = Sequential()
    model.add(Conv2D(32, (5, 5), activation="relu", input_shape=(28, 28, 1)))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Conv2D(64, (5, 5), activation="relu"))
    model.add(MaxPooling2D(pool_size=(2, 2)))
    model.add(Flatten())
    model.add(Dense(128, activation="relu"))
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])

    train_datagen, test_datagen = (ImageDataGenerator(rescale=1.0 / 255) for _ in range(2))
    train_generator, test_generator = (
        generator.flow_from_directory(
            folder / part, target_size=(28, 28), batch_size=32, class_mode="categorical",
            color_mode="grayscale",
        )
        for generator, part in ((train_datagen, "train"), (test_datagen, "test"))
    )  # fmt: skip
    clock = Clock()
    model.fit(
        train_generator, steps_per_epoch=EVERY // 32, epochs=100, verbose=0,
        validation_data=test_generator, callbacks=[keras_clock(clock, 32)],
    )  # fmt: skip
    return clock.result()


CONTESTANTS = {
    "ours": ours,
    "ours, in 2 epochs": lambda folder: ours(folder, epochs=2, averaging=0.98),
    "plain fit": plain_fit,
    "plain fit, no XLA": lambda folder: plain_fit(folder, jit_compile=False),
    "article": article,
}


def write_pictures(folder: Path) -> None:
    """Write MNIST in the folders that the article's script expects."""
    from PIL import Image

    import mnist_xai as mx

    data = mx.load_data("mnist")
    for part, images, labels in (
        ("train", data.train_images, data.train_labels),
        ("test", data.test_images, data.test_labels),
    ):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / part / str(label) / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path, compress_level=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch-python", help="a Python that can import torch")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(CONTESTANTS[options.only](options.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print("Writing MNIST as pictures for the article's script ...", flush=True)
        write_pictures(Path(folder))
        commands = {
            name: [sys.executable, __file__, "--only", name, "--folder", folder]
            for name in CONTESTANTS
        }
        if options.torch_python:
            twin = Path(__file__).with_name("peers") / "torch_training.py"
            commands["PyTorch"] = [options.torch_python, str(twin), os.environ["MNIST_XAI_DATA"]]
        results: dict[str, list[dict]] = {name: [] for name in commands}
        for turn in range(options.rounds):
            for name, command in commands.items():
                print(f"round {turn + 1}: {name}", flush=True)
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                results[name].append(json.loads(done.stdout.splitlines()[-1]))
                print(f"    {results[name][-1]}", flush=True)
    report(results)


def report(results: dict[str, list[dict]]) -> None:
    def median(name: str, figure: str) -> float:
        return statistics.median(r[figure] or float("inf") for r in results[name])

    rate, goal = median("ours", "images_per_second"), median("ours", "seconds_to_99")
    print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"median of {len(results['ours'])} rounds\n")  # fmt: skip
    print("| | images/s | ours is × | s to 99 % | ours takes | peak MiB |")
    print("| - | - | - | - | - | - |")
    for name in results:
        speed, seconds = median(name, "images_per_second"), median(name, "seconds_to_99")
        print(
            f"| {name} | {speed:,.0f} | {rate / speed:.2f} | {seconds:.1f} "
            f"| {goal / seconds:.2f} | {median(name, 'peak_mib'):,.0f} |"
        )


if __name__ == "__main__":
    main()
