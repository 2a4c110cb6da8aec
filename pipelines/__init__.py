"""What is done to data and models. Plain Python: nothing in this package imports Airflow."""
