"""A model and its explanations on trial: one call, one page."""

from mnist_xai.audit.exams import BUDGETS, Budget
from mnist_xai.audit.findings import Finding
from mnist_xai.audit.run import Audit, audit

__all__ = ["BUDGETS", "Audit", "Budget", "Finding", "audit"]
