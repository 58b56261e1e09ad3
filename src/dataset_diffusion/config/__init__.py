"""Every setting of a run. One frozen model per stage; TOML in, resolved JSON out. Imports no torch."""

from dataset_diffusion.config.base import (
    AdapterName as AdapterName,
    Dtype as Dtype,
    Fraction as Fraction,
    NameOrFile as NameOrFile,
    NameOrFolder as NameOrFolder,
    NonNegativeInt as NonNegativeInt,
    PositiveFloat as PositiveFloat,
    PositiveInt as PositiveInt,
    RecipePath as RecipePath,
    Settings as Settings,
    SettingsError as SettingsError,
    Side as Side,
    as_config_error as as_config_error,
    config_hash as config_hash,
    make_settings as make_settings,
)
from dataset_diffusion.config.dataset import (
    STORED_EXPONENTS as STORED_EXPONENTS,
    AnnotateSettings as AnnotateSettings,
    CaptureSettings as CaptureSettings,
    ClassesFrom as ClassesFrom,
    ExportFormat as ExportFormat,
    ExportSettings as ExportSettings,
    FilterSettings as FilterSettings,
    GenerateSettings as GenerateSettings,
    ImageSettings as ImageSettings,
    LabelOptions as LabelOptions,
    LabelSettings as LabelSettings,
    PromptSettings as PromptSettings,
    Refinement as Refinement,
    Scheduler as Scheduler,
    Writer as Writer,
)
from dataset_diffusion.config.machine import (
    MACHINE_SETTINGS as MACHINE_SETTINGS,
    ExecutorSettings as ExecutorSettings,
    MachineSettings as MachineSettings,
    ModelWorkerSettings as ModelWorkerSettings,
    WorkerSettings as WorkerSettings,
)
from dataset_diffusion.config.run import RunConfig as RunConfig
from dataset_diffusion.config.segmenter import (
    NO_BENCHMARK as NO_BENCHMARK,
    Augmentation as Augmentation,
    CalibrateSettings as CalibrateSettings,
    EvaluateSettings as EvaluateSettings,
    ExportModelSettings as ExportModelSettings,
    LearnSettings as LearnSettings,
    ModelFormat as ModelFormat,
    PredictSettings as PredictSettings,
    RedrawSettings as RedrawSettings,
    SelfTraining as SelfTraining,
    TrainSettings as TrainSettings,
    TurnSettings as TurnSettings,
)
