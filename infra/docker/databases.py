"""Two roles in Postgres, each the owner of one database and of nothing else, with the passwords of this environment.

What is there is kept, what is missing is made: a first start that was cut off anywhere is finished by the next `up`, and
a password that changed in .env changes here. MAINTENANCE_DATABASE is the superuser's address.
"""

from __future__ import annotations

import os
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

OWNERS = {"airflow": "AIRFLOW_DB_PASSWORD", "mlflow": "MLFLOW_DB_PASSWORD"}


def make(cursor: Any, name: str, password: str) -> None:
    """One role and its database. Postgres is sent the hash only: it writes statements that fail to its log."""
    names, known = {"name": sql.Identifier(name)}, {"name": name}
    hashed = sql.Literal(encrypt_password(password, name, cursor.connection, "scram-sha-256"))
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %(name)s", known)
    verb = "ALTER" if cursor.fetchone() else "CREATE"
    cursor.execute(sql.SQL(f"{verb} ROLE {{name}} LOGIN PASSWORD {{hashed}}").format(hashed=hashed, **names))
    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %(name)s", known)
    if not cursor.fetchone():
        cursor.execute(sql.SQL("CREATE DATABASE {name} OWNER {name}").format(**names))
    cursor.execute(sql.SQL("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC").format(**names))


def main() -> None:
    connection = psycopg2.connect(os.environ["MAINTENANCE_DATABASE"])
    connection.autocommit = True  # CREATE DATABASE wants no transaction around it
    with connection.cursor() as cursor:
        for name, variable in OWNERS.items():
            make(cursor, name, os.environ[variable])


if __name__ == "__main__":
    main()
