"""The whole job: class names in, labelled dataset, trained segmenter, its score and a report out."""

import json

import numpy as np
import pytest
from commands import files_of, refuse, run_command, succeed, times_of
from conftest import NUM_IMAGES

from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings, RunConfig
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.evaluation.benchmarks import open_benchmark
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.seeding import sample_seed
