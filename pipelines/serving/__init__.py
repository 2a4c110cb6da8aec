"""The champion by HTTP: MLflow's scoring protocol, with the numbers of the bulk table, and every answer kept.

In: rows of features, or keys of published ones. Out: probability and action per row; rows of `<use case>/answers`.
"""

from pipelines.serving.server import serve, tokens_file
