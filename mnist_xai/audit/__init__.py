"""Audit a model and its explanation methods: one call, one page."""

from mnist_xai.audit.outcome import Audit
from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.run import audit
from mnist_xai.audit.tasks import BUDGETS, Budget

__all__ = ["BUDGETS", "Audit", "Budget", "MethodResult", "audit"]
