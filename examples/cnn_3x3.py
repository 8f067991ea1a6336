"""Document 002, section 5.2, corrected: the small convolutional network in Keras.

    python examples/cnn_3x3.py --epochs 10

The article's network is right. Its program never loads `x_train` and the other three arrays, so it
stops at `fit` with a NameError. Pixels must be scaled to [0, 1] and images need the shape
(28, 28, 1).
"""

import argparse
from dataclasses import replace

import mnist_xai as mx


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)

    # As in 002: an epoch is one pass over all images; Adam with the rate 0.001; batches of 32.
    recipe = replace(
        mx.RECIPES["article"], epochs=options.epochs, steps_per_epoch=None, held_out=0.1
    )
    result = mx.train("cnn_3x3", data=options.data, recipe=recipe, progress=False)
    for epoch, loss in enumerate(result.history["loss"], start=1):
        print(f"epoch {epoch}: loss {loss:.4f}")
    print(f"accuracy on the test images: {result.evaluation.accuracy:.2%}")


if __name__ == "__main__":
    main()
