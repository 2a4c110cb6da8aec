"""The verbs of the command line.

In: words. Out: the same functions called that the DAGs call, and their result in words.
"""

from pipelines.commands.repair import add_verbs
from pipelines.commands.stages import STAGES

__all__ = ["STAGES", "add_verbs"]
