"""Everything outside the process: lake, ledger, registry, files, environment. Made in one place, passed in.

In: the environment file. Out: a `Workspace`, which every step takes; who is champion; restore.
"""

from pipelines.workspace.alias import check_alias, first_unscored
from pipelines.workspace.clock import Clock
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
from pipelines.workspace.files import (
    digest_of,
    file_exists,
    list_files,
    open_stream,
    read_bytes,
    remove_file,
    stamp_of,
    write_bytes,
)
from pipelines.workspace.lake import Lake
from pipelines.workspace.lake_reading import DataFile
from pipelines.workspace.ledger import UNASKED, Champion, Decision, Kind, Ledger, hold
from pipelines.workspace.model import Model, ModelMeta, kept_and_loaded
from pipelines.workspace.model_rows import (
    feature_rows,
    model_definitions,
    published_definitions,
    refuse_mixed_definitions,
    refuse_other_definitions,
)
from pipelines.workspace.predictions import predicted_rows, prediction_schema, served_batches, served_rows
from pipelines.workspace.publications import Publications, taken_back_on_failure
from pipelines.workspace.registry import CHALLENGER, CHAMPION, CONFIGURATION_FILE, Registry
from pipelines.workspace.restoring import restorable, restore, use_case_of
from pipelines.workspace.stage_run import StageRun
from pipelines.workspace.tags import ModelVersion, RunTags, VersionTags
from pipelines.workspace.workspace import Workspace, open_workspace, stop_at_other_grain
