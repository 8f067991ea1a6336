"""Document 004, section 5.1, corrected: the dense network in Keras.

    python examples/dense_keras.py --epochs 5

The article's `Sequential` begins with Dense(128) on images of 28 × 28. Without Flatten every *row*
of an image gets its own ten probabilities, and the fit fails. `build_model("dense")` flattens
first. The article neither loads images nor scales pixels from 0 to 255 to [0, 1].
"""

import argparse
from dataclasses import replace

import mnist_xai as mx


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)

    # As in 004: an epoch is one pass over all images; Adam with the rate 0.001; batches of 32.
    recipe = replace(
        mx.RECIPES["article"], epochs=options.epochs, steps_per_epoch=None, held_out=0.1
    )
    result = mx.train("dense", data=options.data, recipe=recipe, progress=False)
    for epoch, loss in enumerate(result.history["loss"], start=1):
        print(f"epoch {epoch}: loss {loss:.4f}")
    print(f"accuracy on the test images: {result.evaluation.accuracy:.2%}")


if __name__ == "__main__":
    main()
