"""What one YAML file in conf/use_cases says: typed, frozen, unknown keys refused.

In: the file. Out: `UseCase`, its partitions, the names of its tables, and columns by declared type.
A section of the file is a module here: `gates:` is `gates.py`. What stands at the top of the file is `use_case.py`.
"""

from pipelines.use_case.assessment import Assessment, Question
from pipelines.use_case.column_types import ROW, arrow_type, as_declared, as_text, cast_rows, row_schema, value_text
from pipelines.use_case.contract import Column, ColumnType, Contract, Invariant, Severity
from pipelines.use_case.definitions import Definitions, definitions_in_plan, feature_definitions
from pipelines.use_case.experiment import EXPERIMENT_COLUMNS, Experiment
from pipelines.use_case.features import History, Join
from pipelines.use_case.gates import Gates
from pipelines.use_case.loader import (
    ROOT,
    load_use_case,
    load_use_cases,
    read_mapping,
    read_use_case,
    use_case_folder,
    with_experiment,
)
from pipelines.use_case.monitoring import Monitoring
from pipelines.use_case.partitions import Grain, Partition, span
from pipelines.use_case.retraining import Retraining
from pipelines.use_case.row_rules import Rule, rules
from pipelines.use_case.scoring import PREDICTION_COLUMNS
from pipelines.use_case.section import PARTITION, fold, nearest
from pipelines.use_case.sources import Source
from pipelines.use_case.tables import (
    SNAPSHOT,
    answers_table,
    decisions_table,
    features_table,
    key_of,
    labels_table,
    monitoring_table,
    predictions_table,
    quarantine_table,
    source_table,
    unknown_columns_table,
)
from pipelines.use_case.training import Candidate
from pipelines.use_case.use_case import UseCase
from pipelines.use_case.value import Value, money, worth
