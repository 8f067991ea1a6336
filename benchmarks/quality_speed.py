"""How long max sensitivity and parameter randomisation take here and in Quantus, in one run.

    python benchmarks/quality_speed.py quantus/bin/python

64 digits, the trained network of the case study and its twin in PyTorch, the gradient, as many
copies and layers on both sides. The first call, which compiles, is timed by itself.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

import mnist_xai as mx
from mnist_xai.interpret.gradients import Gradient
from mnist_xai.quality import MaxSensitivity, ParameterRandomisation, Trial

HERE = Path(__file__).parent
COUNT, SAMPLES, RUNS = 64, 10, 5


def main():
    model = keras.models.load_model(HERE.parent / "saved_models" / "cnn.keras", compile=False)
    network = mx.Network(model)
    digits = mx.load_data("digits")
    images = np.float32(mx.normalise(digits.test_images[:COUNT]))
    trial = Trial.of(network, images, Gradient())
    ours = {
        "max_sensitivity": MaxSensitivity(0.1, SAMPLES),
        "parameter_randomisation": ParameterRandomisation(),
    }
    found = {key: _timed(lambda m=metric: m(trial)) for key, metric in ours.items()}
    found["one_gradient"] = _timed(lambda: Gradient()(network, trial.images, trial.targets))
    theirs = _quantus(model, trial)
    for key, seconds in found.items():
        mine, others = np.median(seconds[1:]), np.median(theirs[key][-RUNS:])
        print(
            f"{key}: ours {mine:.4f} s (first {seconds[0]:.2f}), Quantus {others:.4f} s, "
            f"ratio {others / mine:.1f}"
        )


def _timed(run):
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def _quantus(model, trial):
    arrays = {
        f"cnn/{layer.name}/{weight.name}": np.asarray(weight)
        for layer in model.layers
        for weight in layer.weights
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, x=trial.images, c=trial.targets, **arrays)
        script = HERE / "peers" / "quantus_speed.py"
        command = [sys.argv[1], script.name, path, str(SAMPLES), str(RUNS)]
        done = subprocess.run(
            command, cwd=script.parent, check=True, capture_output=True, text=True
        )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
