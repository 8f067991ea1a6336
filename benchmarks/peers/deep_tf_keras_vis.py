"""tf-keras-vis, for `benchmarks/deep.py`; run by it in our own environment."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from deep_contest import NOISY, SIGMA, main
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils.scores import CategoricalScore


def explainer(job):
    model = job.built()
    signed = {"gradient_modifier": None, "normalize_map": False, "keepdims": True}
    noisy = {"smooth_samples": NOISY, "smooth_noise": SIGMA}
    cam = {"penultimate_layer": job.cam_layer, "normalize_cam": False}
    kind, options = {
        "gradient": (Saliency, signed),
        "smoothgrad": (Saliency, signed | noisy),
        "gradcam": (Gradcam, cam),
        "gradcam_plus_plus": (GradcamPlusPlus, cam),
    }[job.method]
    explain = kind(model, clone=False)

    def run(x, c):
        maps = explain(CategoricalScore(c.tolist()), x, **options)
        return maps if maps.ndim == 4 else maps[..., None]

    return run


if __name__ == "__main__":
    main(explainer)
