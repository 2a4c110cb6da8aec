"""What runs only on one machine: the reference use case's feeds, the services, the replay of 2013.

In: nothing but the checkout. Out: Airflow and MLflow on loopback, and a year of flights through them.
"""

from pipelines.local.demo import run_demo, serve
from pipelines.local.feeds import USE_CASE as REFERENCE
from pipelines.local.feeds import arrive
from pipelines.local.services import erase
