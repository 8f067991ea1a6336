"""Names and texts that would act on a terminal or in a page."""

import json
import os

import h5py
import numpy as np
from PIL import Image

from tests.hostile.corpus import case
from tests.hostile.data import npz, png
from tests.hostile.models import changed, replace, setting

TITLE = "\x1b]0;owned\x07"  # Renames the window.
ERASE = "\x1b[2K\x1b[1A\r"  # Erases what was printed.
OVER = "\u202egnp.exe"  # Reverses the direction of writing.
PAGE = "<img src=x onerror=\"document.title='owned'\">"  # A folder's name holds no slash.


def named(box, name):
    """Write a folder of pictures with a label of this name."""
    for part in ("train", "test"):
        for label in (name, "dog"):
            folder = box.inside / part / label
            folder.mkdir(parents=True)
            Image.fromarray(np.full((4, 5), 99, np.uint8)).save(folder / "a.png")
    return box.inside


@case("load_model", "control characters")
def name_of_a_layer_that_erases(box):
    config = json.dumps(box.config()).replace('"out"', json.dumps(f"out{ERASE}"))
    return box.archive(config=config.encode())


@case("load_model", "code from outside Keras")
def module_that_renames_the_window(box):
    return changed(box, replace(f"os{TITLE}\nall good", "system"))


@case("load_model", "Keras cannot load it")
def activation_that_renames_the_window(box):
    return changed(box, setting(activation=f"relu{TITLE}\nall good"))


@case("load_model", r"holds \\x1b")
def member_that_renames_the_window(box):
    return box.archive(more={f"{TITLE}": b"x"})


@case("load_model", r"x1b\]0;owned")
def file_that_renames_the_window(box):
    path = box.inside / f"{TITLE}.keras"
    path.write_bytes(b"x")
    return path


@case("load_model", "links to another place .SoftLink")
def link_that_erases(box):
    def change(file):
        file[f"x{ERASE}"] = h5py.SoftLink("/nowhere")

    return box.archive(weights=box.weights(change))


@case("load_data", r"x1b\]0;owned.*expected a picture")
def picture_that_renames_the_window(box):
    (box.pictures().with_name(f"{TITLE}\n.txt")).write_bytes(b"x")
    return box.inside


@case("load_data", "cannot be read as a picture")
def picture_whose_name_is_no_text(box):
    box.pictures()
    name = os.fsdecode(b"\xff\xfe.png")
    (box.inside / "train" / "cat" / name).write_bytes(b"x")
    return box.inside


@case("load_data", "only one of the two has .*owned")
def label_that_is_missing_and_acts(box):
    named(box, "cat")
    (box.inside / "train" / f"x{TITLE}").mkdir()
    return box.inside


@case("cli", None)
def table_of_labels_that_act(box):
    return ["data", named(box, f"cat{TITLE}{ERASE}\n{OVER}{PAGE}")]


@case("cli", None)
def picture_of_labels_that_act(box):
    return ["data", named(box, f"$\\frac{{${TITLE}{PAGE}"), "--save-to", box.out / "x.png"]


@case("cli", "code from outside Keras")
def command_given_a_model_that_acts(box):
    change = replace(f"os{TITLE}\n", "system")
    return ["evaluate", changed(box, change), "--data", npz(box)]


@case("cli", "control characters")
def layers_that_act(box):
    config = json.dumps(box.config()).replace('"out"', json.dumps(f"out{ERASE}"))
    return ["layers", box.archive(config=config.encode())]


@case("cli", "no such model file")
def command_given_a_name_that_acts(box):
    return ["layers", box.inside / f"{TITLE}.keras"]


@case("cli", "cannot be read as a picture")
def image_that_is_not_a_picture(box):
    (box.inside / f"{TITLE}.png").write_bytes(b"x")
    return ["explain", box.archive(), "--image", box.inside / f"{TITLE}.png",
            "--save-to", box.out / "x.png"]  # fmt: skip


@case("cli", "this is not a regular file")
def image_that_is_a_pipe(box):
    os.mkfifo(box.inside / "pipe.png")
    return ["explain", box.archive(), "--image", box.inside / "pipe.png",
            "--save-to", box.out / "x.png"]  # fmt: skip


@case("cli", None)
def data_whose_name_acts(box):
    path = npz(box)
    return ["data", path.rename(path.with_name(f"{TITLE}{OVER}.npz"))]


@case("cli", None)
def evaluation_of_labels_that_act(box):
    return ["evaluate", box.archive(), "--data", three(box)]


@case("cli", None)
def explanation_of_data_whose_name_acts(box):
    path = npz(box)
    path = path.rename(path.with_name(f"${TITLE}\\frac{{$.npz"))
    return ["explain", box.archive(), "--data", path, "--index", "0", "--method", "gradient",
            "--save-to", box.out / "x.png"]  # fmt: skip


def three(box):
    """Write three labels that act on a terminal, for a model of three classes."""
    for part in ("train", "test"):
        for label in (f"a{TITLE}", f"b{ERASE}{PAGE}", f"c{OVER}\n\nError"):
            folder = box.inside / part / label
            folder.mkdir(parents=True)
            (folder / "a.png").write_bytes(png())
    return box.inside
