import json
import subprocess
import sys

import numpy as np
import pytest
from tests.helpers.folders import scenes_folder
from tests.helpers.processes import succeed

from dataset_diffusion.evaluation.examples import Example, write_examples
from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels, to_results
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.run_folder import RunFolder

PROGRAM = """
import sys
from dataset_diffusion.__main__ import main
try:
    main(["report", sys.argv[1]])
except SystemExit as end:
    assert not end.code, end.code
assert not {"torch", "lightning", "diffusers"} & sys.modules.keys()
"""


@pytest.mark.slow
def test_a_report_loads_no_model_and_no_torch(tmp_path):
    run, classes = RunFolder(tmp_path / "run"), class_set("emoji")
    folder = scenes_folder(run.dataset)
    labels = folder.labels.values()
    examples = [Example(np.zeros((*label.shape, 3), np.uint8), label, label) for label in labels]
    write_examples(run.examples, examples, classes)
    scores = evaluate_labels([(np.zeros_like(label), label) for label in labels], len(classes.label_ids))
    run.results.write_text(json.dumps(to_results(scores, classes, {})))
    ended = subprocess.run([sys.executable, "-c", PROGRAM, run.path], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Predictions on the benchmark" in run.report.read_text()


def test_a_dataset_alone_has_a_page_in_its_folder(tmp_path):
    dataset = scenes_folder(tmp_path / "dataset").root
    assert succeed("report", dataset) == f"wrote {dataset / 'report.html'}\n"
