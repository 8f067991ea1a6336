"""Profiles of random examples: few and the same each time by default, many in `make fuzz`.

`--hypothesis-profile=long` runs forty times as many, different ones each time.
"""

from hypothesis import HealthCheck, settings

_SHARED = {
    "deadline": None,  # The first example of a network compiles it.
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
settings.register_profile("few", derandomize=True, max_examples=10, **_SHARED)
settings.register_profile("long", max_examples=400, print_blob=True, **_SHARED)
settings.load_profile("few")


def pytest_configure(config):
    settings.load_profile(config.getoption("--hypothesis-profile", None) or "few")
