#!/usr/bin/env bash
# One role and one database each for Prefect and MLflow. Postgres runs this once, when its volume is empty.
set -euo pipefail

create() { # name, password
  psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set name="$1" --set password="$2" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

create prefect "$PREFECT_DATABASE_PASSWORD"
create mlflow "$MLFLOW_DATABASE_PASSWORD"
