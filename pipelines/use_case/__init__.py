"""What one YAML file in conf/use_cases says: typed, frozen, unknown keys refused.

In: the file. Out: `UseCase`, its partitions, its contracts, the names of its tables, and values by declared type.
"""

from pipelines.use_case.contract import Column, ColumnType, Contract, Invariant, Rule, Severity, rules
from pipelines.use_case.partitions import Grain, Partition, span
from pipelines.use_case.settings import Assessment, Candidate, Gates, History, Join, Question, Source, nearest
from pipelines.use_case.tables import (
    SNAPSHOT,
    features_table,
    key_of,
    labels_table,
    monitoring_table,
    predictions_table,
    quarantine_table,
    source_table,
    unknown_columns_table,
)
from pipelines.use_case.use_case import ROOT, UseCase, load_use_case, load_use_cases, read_use_case, use_case_folder
from pipelines.use_case.value import Value, money
from pipelines.use_case.values import ROW, Reject, arrow_type, as_declared, as_text, cast_rows, value_text

__all__ = [
    "ROOT",
    "ROW",
    "SNAPSHOT",
    "Assessment",
    "Candidate",
    "Column",
    "ColumnType",
    "Contract",
    "Gates",
    "Grain",
    "History",
    "Invariant",
    "Join",
    "Partition",
    "Question",
    "Reject",
    "Rule",
    "Severity",
    "Source",
    "UseCase",
    "Value",
    "arrow_type",
    "as_declared",
    "as_text",
    "cast_rows",
    "features_table",
    "key_of",
    "labels_table",
    "load_use_case",
    "load_use_cases",
    "money",
    "monitoring_table",
    "nearest",
    "predictions_table",
    "quarantine_table",
    "read_use_case",
    "rules",
    "source_table",
    "span",
    "unknown_columns_table",
    "use_case_folder",
    "value_text",
]
