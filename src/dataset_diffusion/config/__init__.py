"""Every setting of a run. One frozen model per stage; TOML in, resolved JSON out. Imports no torch."""

from dataset_diffusion.config.base import (
    Dtype as Dtype,
)
from dataset_diffusion.config.base import (
    Fraction as Fraction,
)
from dataset_diffusion.config.base import (
    NameOrFile as NameOrFile,
)
from dataset_diffusion.config.base import (
    NameOrFolder as NameOrFolder,
)
from dataset_diffusion.config.base import (
    NonNegativeInt as NonNegativeInt,
)
from dataset_diffusion.config.base import (
    PositiveFloat as PositiveFloat,
)
from dataset_diffusion.config.base import (
    PositiveInt as PositiveInt,
)
from dataset_diffusion.config.base import (
    RecipePath as RecipePath,
)
from dataset_diffusion.config.base import (
    Settings as Settings,
)
from dataset_diffusion.config.base import (
    Side as Side,
)
from dataset_diffusion.config.base import (
    as_config_error as as_config_error,
)
from dataset_diffusion.config.base import (
    config_hash as config_hash,
)
from dataset_diffusion.config.base import (
    make_settings as make_settings,
)
from dataset_diffusion.config.dataset import (
    STORED_EXPONENTS as STORED_EXPONENTS,
)
from dataset_diffusion.config.dataset import (
    AnnotateSettings as AnnotateSettings,
)
from dataset_diffusion.config.dataset import (
    CaptureSettings as CaptureSettings,
)
from dataset_diffusion.config.dataset import (
    ClassesFrom as ClassesFrom,
)
from dataset_diffusion.config.dataset import (
    ExportFormat as ExportFormat,
)
from dataset_diffusion.config.dataset import (
    ExportSettings as ExportSettings,
)
from dataset_diffusion.config.dataset import (
    FilterSettings as FilterSettings,
)
from dataset_diffusion.config.dataset import (
    GenerateSettings as GenerateSettings,
)
from dataset_diffusion.config.dataset import (
    ImageSettings as ImageSettings,
)
from dataset_diffusion.config.dataset import (
    LabelOptions as LabelOptions,
)
from dataset_diffusion.config.dataset import (
    LabelSettings as LabelSettings,
)
from dataset_diffusion.config.dataset import (
    PromptSettings as PromptSettings,
)
from dataset_diffusion.config.dataset import (
    Refinement as Refinement,
)
from dataset_diffusion.config.dataset import (
    Scheduler as Scheduler,
)
from dataset_diffusion.config.machine import (
    MACHINE_SETTINGS as MACHINE_SETTINGS,
)
from dataset_diffusion.config.machine import (
    ExecutorSettings as ExecutorSettings,
)
from dataset_diffusion.config.machine import (
    MachineSettings as MachineSettings,
)
from dataset_diffusion.config.machine import (
    ModelWorkerSettings as ModelWorkerSettings,
)
from dataset_diffusion.config.machine import (
    WorkerSettings as WorkerSettings,
)
from dataset_diffusion.config.run import RunConfig as RunConfig
from dataset_diffusion.config.segmenter import (
    NO_BENCHMARK as NO_BENCHMARK,
)
from dataset_diffusion.config.segmenter import (
    Augmentation as Augmentation,
)
from dataset_diffusion.config.segmenter import (
    CalibrateSettings as CalibrateSettings,
)
from dataset_diffusion.config.segmenter import (
    EvaluateSettings as EvaluateSettings,
)
from dataset_diffusion.config.segmenter import (
    LearnSettings as LearnSettings,
)
from dataset_diffusion.config.segmenter import (
    PredictSettings as PredictSettings,
)
from dataset_diffusion.config.segmenter import (
    TrainSettings as TrainSettings,
)
from dataset_diffusion.config.segmenter import (
    TurnSettings as TurnSettings,
)
