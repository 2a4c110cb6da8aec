"""Everything outside the process: lake, ledger, registry, files, environment. Made in one place, passed in.

In: the environment file. Out: a `Workspace`, which every step takes; who is champion; restore.
"""

from pipelines.workspace.alias import check_alias, first_unscored
from pipelines.workspace.commits import Commit, CommitRecord
from pipelines.workspace.downstream import dependents, stages_to_recompute
from pipelines.workspace.environment import (
    Environment,
    LakeSettings,
    RegistrySettings,
    SparkSettings,
    approvers_of,
    load_environment,
    state_folder,
    usable_use_cases,
)
from pipelines.workspace.files import digest_of, file_exists, list_files, open_stream, read_bytes, write_bytes
from pipelines.workspace.lake import Lake
from pipelines.workspace.lake_log import PARTITION
from pipelines.workspace.lake_reading import DataFile
from pipelines.workspace.ledger import Champion, Decision, Kind, Ledger
from pipelines.workspace.model import Model, ModelMeta, kept_and_loaded
from pipelines.workspace.model_rows import (
    feature_rows,
    model_definitions,
    published_definitions,
    refuse_mixed_definitions,
    refuse_other_definitions,
)
from pipelines.workspace.publications import Publications, taken_back_on_failure
from pipelines.workspace.registry import CHALLENGER, CHAMPION, CONFIGURATION_FILE, Registry
from pipelines.workspace.restoring import restorable, restore, use_case_of
from pipelines.workspace.stage_run import StageRun
from pipelines.workspace.tags import ModelVersion, RunTags, VersionTags
from pipelines.workspace.workspace import Workspace, open_workspace

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
    "ModelMeta",
    "ModelVersion",
    "Publications",
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
    "digest_of",
    "feature_rows",
    "file_exists",
    "first_unscored",
    "kept_and_loaded",
    "list_files",
    "load_environment",
    "model_definitions",
    "open_stream",
    "open_workspace",
    "published_definitions",
    "read_bytes",
    "refuse_mixed_definitions",
    "refuse_other_definitions",
    "restorable",
    "restore",
    "stages_to_recompute",
    "state_folder",
    "taken_back_on_failure",
    "usable_use_cases",
    "use_case_of",
    "write_bytes",
]
