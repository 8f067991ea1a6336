"""Skip these tests, with a reason, on systems other than Linux."""

import sys

import pytest

REASON = "needs Linux: these tests fork, limit processes, send signals and read /proc"


class _SkippedModule(pytest.Module):
    """A test module that is not imported: what it imports is missing on other systems."""

    def collect(self):
        pytest.skip(REASON)


def pytest_pycollect_makemodule(module_path, parent):
    if sys.platform != "linux":
        return _SkippedModule.from_parent(parent, path=module_path)
    return None
