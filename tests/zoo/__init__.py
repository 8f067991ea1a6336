"""The zoo: models as their owners have them, and trials of every family of methods on each.

`make zoo` tries them all and writes `docs/zoo.md`; `test_zoo.py` tries the small ones.
"""
