"""The small models of the zoo: every map is right, every refusal has a way out."""

import pytest

from tests.zoo.models import SMALL
from tests.zoo.trials import FAMILIES, Subject, Verdict, try_family

pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`:UserWarning")

_WITHOUT_GRADIENTS = {"function of NumPy arrays", "preprocess=, a function of NumPy"}
_WITHOUT_LAYERS = {*_WITHOUT_GRADIENTS, "function of tensors"}
_REFUSED_AS_A_WHOLE = {"channels first"}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, builds in SMALL.items() for name in builds]
)
def test_small_models_are_explained_rightly_or_refused_with_a_way_out(kind, name):
    subject = Subject(SMALL[kind][name]())
    found = {family: try_family(subject, family) for family in FAMILIES}
    listed = [str(finding) for findings in found.values() for finding in findings]
    worst = max(finding.verdict for findings in found.values() for finding in findings)
    assert worst <= Verdict.REFUSED, "\n".join(listed)
    if name not in _REFUSED_AS_A_WHOLE:
        for family in ("perturbation", *(["gradients"] if name not in _WITHOUT_GRADIENTS else [])):
            assert all(f.verdict <= Verdict.ASKED for f in found[family]), "\n".join(listed)
