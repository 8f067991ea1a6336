"""These tests fork, limit and kill, and look into `/proc`: they are of Linux."""

import sys

# Not by marks: what is imported on top of the modules is missing elsewhere.
collect_ignore_glob = [] if sys.platform == "linux" else ["test_*.py"]
