"""The two kinds of failure. `pipelines` classifies; `dags` decides on retries."""


class PermanentError(Exception):
    """Bad data, bad configuration or a failed gate: a retry cannot help, so the task fails at once."""


class TransientError(Exception):
    """The network, a lock, another writer: worth a retry with back-off."""
