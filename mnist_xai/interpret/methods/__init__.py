"""Attribution methods, one sub-package per family, and `explain`."""
