"""The tour runs from its first cell to its last, and is stored with its output."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests import ROOT

pytestmark = pytest.mark.slow

TOUR = ROOT / "notebooks" / "tour.ipynb"
NUM_CELLS = 10


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_stored_tour_was_executed_in_order() -> None:
    cells = code_cells(nbformat.read(TOUR, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, NUM_CELLS + 1))
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    # What it shows is worth showing: the bundled models, and one adapted, both above chance.
    assert "angry     0.99  I am so angry at him" in printed
    assert "| test of ravdess + tess, audio alone, of these ravdess | 0.695" in printed
    uars = [
        float(uar) for uar in re.findall(r"UAR +(0\.\d+)(?:  no interval| of 7 clips)", printed)
    ]
    assert len(uars) == 2 and min(uars) > 2 / 7
    assert "/tmp/" not in printed


# The kernel speaks TCP on loopback; that it is not encrypted is said by jupyter_client, not by us.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_the_tour_runs_from_its_first_cell_to_its_last() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    client = NotebookClient(
        notebook, timeout=1500, kernel_name="python3", resources={"metadata": {"path": TOUR.parent}}
    )
    client.execute()
    printed = "".join(
        output.get("text", "") for cell in code_cells(notebook) for output in cell.outputs
    )
    assert "SYNTHETIC" in printed
    assert "neutral" in printed
