"""SHAP's part of `benchmarks/methods.py`; run by it, in an environment with torch and shap.

python benchmarks/peers/shap_methods.py inputs.npz
"""

import numpy as np
import shap
import torch
from contest import FEW, plainly, serve
from torch_twin import in_both_formats


def methods(i):
    explainer = shap.DeepExplainer(i.model(), i.baselines)

    def deep_shap():
        # Only the largest of the ten outputs, the predicted class, is explained.
        values, _ = explainer.shap_values(i.x[:FEW], ranked_outputs=1, check_additivity=False)
        return np.asarray(values)[..., 0].transpose(0, 2, 3, 1)

    yield "deep_shap", plainly(deep_shap)


if __name__ == "__main__":
    serve(in_both_formats(methods), ("torch", "shap"), torch.get_num_threads())
