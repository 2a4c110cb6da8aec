"""The verbs of the command line.

In: words. Out: the same functions called that the DAGs call, and their result in words.
"""

# In the order of the help.
from pipelines.commands import stages, backfill, look, doctor, mend, models, serving, configuration, local  # noqa: I001
from pipelines.commands.program import main
