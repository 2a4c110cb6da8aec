"""What really happened, once it is complete.

In: a published partition of the outcomes. Out: a partition of `<use case>/labels`.
"""

from pipelines.labels.labels import publish_labels, to_labels, unlabelled
