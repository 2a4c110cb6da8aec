"""Spark jobs: one file per job, pure DataFrame functions and a short `main`."""
