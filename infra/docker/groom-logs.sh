#!/usr/bin/env bash
# The `log-groomer` service: once an hour, remove Airflow's log files that nobody wrote to for LOG_DAYS days.
set -euo pipefail
trap 'exit 0' TERM

while true; do
    find "$AIRFLOW_HOME/logs" -type f -mtime "+$LOG_DAYS" -delete
    # A folder of today may be one that a task is about to write into.
    find "$AIRFLOW_HOME/logs" -mindepth 1 -type d -empty -mtime +1 -delete
    sleep 3600 &
    wait $!
done
