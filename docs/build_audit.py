"""Write docs/audit.html, the full audit of the case study's network, in a quarter of an hour.

.venv/bin/python docs/build_audit.py [--budget fast] [--images 64]
"""

import argparse
from pathlib import Path

import mnist_xai as mx
from mnist_xai.audit.page import audit_page
from mnist_xai.io.files import write_atomically

DOCS = Path(__file__).parent


def main() -> None:
    """Run the audit and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", choices=["fast", "full"], default="full")
    parser.add_argument("--images", type=int, help="test images, instead of the budget's number")
    model = DOCS.parent / "saved_models" / "cnn.keras"
    # Without the .json and .csv files: the scores of all images take several MB.
    given = parser.parse_args()
    outcome = mx.audit(model, budget=given.budget, images=given.images, save_to=None)
    write_atomically(DOCS / "audit.html", audit_page(outcome))


if __name__ == "__main__":
    main()
