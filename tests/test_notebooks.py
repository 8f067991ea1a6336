"""Every notebook is stored with its outputs and runs from top to bottom."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "/home/" not in path.read_text()
    assert path.stat().st_size < 2_000_000


# The kernel runs in the folder of the notebooks, from which `tests` cannot be imported.
FIRST = f"""
import sys
sys.path.insert(0, {str(FOLDER.parent)!r})
from tests.short_notebooks import shorten
shorten()
"""
# A notebook must not need what another one left: no names, no open figures, no changed settings.
BEFORE_EACH = """
%reset -f
import keras, matplotlib.pyplot
keras.backend.clear_session()
matplotlib.pyplot.close("all")
matplotlib.rcdefaults()
%config InlineBackend.print_figure_kwargs = {"dpi": 30, "bbox_inches": None}
"""


@pytest.fixture(scope="module")
def run():
    """Runs notebooks in one kernel: starting one and importing TensorFlow takes 5 seconds."""
    client = NotebookClient(new_notebook(), timeout=300, resources={"metadata": {"path": FOLDER}})

    def execute(notebook):
        client.nb = notebook
        client.execute(cleanup_kc=False)

    execute(new_notebook(cells=[new_code_cell(FIRST)]))
    yield execute
    client.nb = new_notebook()
    client.execute()  # And stop the kernel.


@pytest.mark.usefixtures("mnist")
@pytest.mark.filterwarnings("ignore")  # Of the messaging between Jupyter's processes.
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, run):
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, new_code_cell(BEFORE_EACH))
    run(notebook)


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_with_an_error_or_a_name_of_another_one_is_found(run):
    run(new_notebook(cells=[new_code_cell("left = 1")]))
    with pytest.raises(CellExecutionError, match="NameError.*name 'left' is not defined"):
        run(new_notebook(cells=[new_code_cell(BEFORE_EACH), new_code_cell("left")]))
