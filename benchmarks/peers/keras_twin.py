"""The case study's network with logits as outputs, for the peers in TensorFlow."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf
from contest import Inputs


class KerasInputs(Inputs):
    def __init__(self, path):
        super().__init__(path)
        self.keras = keras.models.load_model(self.model_path, compile=False)
        self.keras.layers[-1].activation = keras.activations.linear
        self.x = tf.constant(self.images)


def inputs():
    return KerasInputs(sys.argv[1])


def threads():
    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
