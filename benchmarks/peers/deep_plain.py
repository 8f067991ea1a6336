"""Plain `tf.function`s over the Keras model, for `benchmarks/deep.py`: the passes, no more."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from deep_contest import NOISY, SIGMA, STEPS, main


def explainer(job):
    model = job.built()
    spec = tf.TensorSpec([None, *model.inputs[0].shape[1:]]), tf.TensorSpec([None], tf.int32)

    @tf.function(input_signature=spec, autograph=False, jit_compile=False)
    def gradient(x, c):
        with tf.GradientTape() as tape:
            tape.watch(x)
            s = tf.gather(model(x, training=False), c, batch_dims=1)
        return tape.gradient(s, x)

    def integrated(x, c):
        nodes, weights = np.polynomial.legendre.leggauss(STEPS)
        pairs = zip((nodes + 1) / 2, weights / 2, strict=True)
        return x * sum(np.float32(w) * gradient(np.float32(s) * x, c) for s, w in pairs).numpy()

    def smooth(x, c):
        noise = np.random.default_rng(0).standard_normal((NOISY, *x.shape[1:]), np.float32)
        copies = (x + np.float32(SIGMA * job.scale) * one for one in noise)
        return sum(gradient(copy, c) for copy in copies).numpy() / NOISY

    if job.method in ("gradcam", "gradcam_plus_plus"):
        return cam(model, job, spec)
    return {
        "gradient": lambda x, c: gradient(x, c).numpy(),
        "integrated_gradients": integrated,
        "smoothgrad": smooth,
    }[job.method]


def cam(model, job, spec):
    """Grad-CAM and Grad-CAM++ by one gradient pass from the layer on."""
    both = keras.Model(model.inputs, [model.get_layer(job.cam_layer).output, model.output])

    @tf.function(input_signature=spec, autograph=False, jit_compile=False)
    def run(x, c):
        with tf.GradientTape() as tape:
            a, z = both(x, training=False)
            s = tf.gather(z, c, batch_dims=1)
        g = tape.gradient(s, a)
        if job.method == "gradcam":
            weights = tf.reduce_mean(g, (1, 2))
        else:
            alpha = tf.math.divide_no_nan(1.0, 2 + g * tf.reduce_sum(a, (1, 2), keepdims=True))
            weights = tf.reduce_sum(alpha * tf.nn.relu(g), (1, 2))
        small = tf.nn.relu(tf.einsum("nhwk,nk->nhw", a, weights))
        return tf.image.resize(small[..., None], x.shape[1:3])

    return lambda x, c: run(x, c).numpy()


if __name__ == "__main__":
    main(explainer)
