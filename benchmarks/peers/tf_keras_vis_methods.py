"""tf-keras-vis's part of `benchmarks/methods.py`; run by it, in our own environment.

python benchmarks/peers/tf_keras_vis_methods.py inputs.npz
"""

import numpy as np
from contest import CAM_LAYER, FEW, NOISY, SIGMA, batched, serve
from keras_twin import inputs, threads
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam
from tf_keras_vis.utils.scores import CategoricalScore

SIGNED = {"gradient_modifier": None, "normalize_map": False, "keepdims": True}
CAM = {"penultimate_layer": CAM_LAYER, "normalize_cam": False}


def methods(i):
    def explain(method, options):
        def run(size):
            starts = range(0, len(i.images), size)
            return np.concatenate([
                method(CategoricalScore(i.targets[s : s + size].tolist()),
                       i.images[s : s + size], **options)
                for s in starts
            ])  # fmt: skip

        return batched(run, (64, 256))

    saliency = Saliency(i.keras, clone=False)
    yield "gradient", explain(saliency, SIGNED)
    noisy = {"smooth_samples": NOISY, "smooth_noise": SIGMA}
    yield "smoothgrad", explain(saliency, SIGNED | noisy)
    yield "gradcam", explain(Gradcam(i.keras, clone=False), CAM)
    yield "gradcam_plus_plus", explain(GradcamPlusPlus(i.keras, clone=False), CAM)
    score_cam = Scorecam(i.keras, clone=False)

    def score(size):
        wanted = CategoricalScore(i.targets[:FEW].tolist())
        return score_cam(wanted, i.images[:FEW], batch_size=size, **CAM)

    yield "scorecam", batched(score)


if __name__ == "__main__":
    serve(dict(methods(inputs())), ("tensorflow", "tf-keras-vis"), threads())
