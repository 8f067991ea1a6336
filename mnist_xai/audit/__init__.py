"""A model and its explanations on batch: one call, one page."""

from mnist_xai.audit.results import MethodResult
from mnist_xai.audit.run import Audit, audit
from mnist_xai.audit.tasks import BUDGETS, Budget

__all__ = ["BUDGETS", "Audit", "Budget", "MethodResult", "audit"]
