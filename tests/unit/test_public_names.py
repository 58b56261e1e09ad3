import runpy
import subprocess
import sys

import pytest

import dataset_diffusion

# The table of the README and of docs/architecture.md; what has left it has broken somebody's program.
PROMISED = {
    "AttentionMaps",
    "CaptureSettings",
    "ClassSet",
    "DatasetStore",
    "Generation",
    "Prompt",
    "assign_labels",
    "build_prompts",
    "class_set",
    "evaluate_labels",
    "load_model",
    "normalize",
    "propagate",
    "token_indices",
}
HEAVY = {"diffusers", "lightning", "matplotlib", "numpy", "pyarrow", "torch", "transformers"}


def modules_after(program):
    """Names of the top-level modules that a program of its own has imported."""
    lines = [program, "import sys", "print(*{name.partition('.')[0] for name in sys.modules})"]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return set(ended.stdout.splitlines()[-1].split())


def test_every_promised_name_is_public():
    assert set(dataset_diffusion.__all__) >= PROMISED
    assert set(dir(dataset_diffusion)) >= PROMISED


@pytest.mark.slow
@pytest.mark.parametrize("name", dataset_diffusion.__all__)
def test_a_public_name_is_what_it_says(name):
    assert getattr(dataset_diffusion, name).__name__ == name


@pytest.mark.slow
def test_type_checkers_see_the_same_objects(monkeypatch):
    objects = {name: getattr(dataset_diffusion, name) for name in dataset_diffusion.__all__}
    monkeypatch.setattr("typing.TYPE_CHECKING", True)
    seen = runpy.run_path(dataset_diffusion.__file__)
    assert {name: seen.get(name) for name in objects} == objects


@pytest.mark.slow
def test_importing_the_package_imports_nothing_heavy():
    assert modules_after("import dataset_diffusion; dataset_diffusion.__version__").isdisjoint(HEAVY)


@pytest.mark.slow
def test_class_sets_and_prompts_need_nothing_heavy():
    program = "from dataset_diffusion import build_prompts, class_set; build_prompts(None, class_set('voc'), 9, seed=0)"
    assert modules_after(program).isdisjoint(HEAVY)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'dataset_diffusion' has no attribute 'generate'"):
        _ = dataset_diffusion.generate
