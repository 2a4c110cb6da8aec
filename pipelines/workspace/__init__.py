"""Everything outside the process: lake, ledger, registry, files, environment. Made in one place, passed in.

In: the environment file. Out: a `Workspace`, which every step takes; who is champion; restore.
"""

from pipelines.workspace.champion import check_alias, first_unscored
from pipelines.workspace.commits import Commit, CommitRecord
from pipelines.workspace.downstream import dependents, stages_to_recompute
from pipelines.workspace.environment import (
    Environment,
    LakeSettings,
    RegistrySettings,
    SparkSettings,
    Workspace,
    approvers_of,
    load_environment,
    open_workspace,
    state_folder,
    usable_use_cases,
)
from pipelines.workspace.files import file_exists, list_files, read_bytes, write_bytes
from pipelines.workspace.lake import Lake
from pipelines.workspace.lake_log import PARTITION
from pipelines.workspace.lake_reading import DataFile
from pipelines.workspace.ledger import Champion, Decision, Kind, Ledger
from pipelines.workspace.model_files import Model, kept_and_loaded
from pipelines.workspace.model_rows import (
    feature_rows,
    model_definitions,
    published_definitions,
    refuse_mixed_definitions,
    refuse_other_definitions,
)
from pipelines.workspace.registry import CHALLENGER, CHAMPION, CONFIGURATION_FILE, Registry
from pipelines.workspace.restoring import restorable, restore, use_case_of
from pipelines.workspace.stage_run import StageRun
from pipelines.workspace.tags import ModelVersion, RunTags, VersionTags

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "CONFIGURATION_FILE",
    "PARTITION",
    "Champion",
    "Commit",
    "CommitRecord",
    "DataFile",
    "Decision",
    "Environment",
    "Kind",
    "Lake",
    "LakeSettings",
    "Ledger",
    "Model",
    "ModelVersion",
    "Registry",
    "RegistrySettings",
    "RunTags",
    "SparkSettings",
    "StageRun",
    "VersionTags",
    "Workspace",
    "approvers_of",
    "check_alias",
    "dependents",
    "feature_rows",
    "file_exists",
    "first_unscored",
    "kept_and_loaded",
    "list_files",
    "load_environment",
    "model_definitions",
    "open_workspace",
    "published_definitions",
    "read_bytes",
    "refuse_mixed_definitions",
    "refuse_other_definitions",
    "restorable",
    "restore",
    "stages_to_recompute",
    "state_folder",
    "usable_use_cases",
    "use_case_of",
    "write_bytes",
]
