#!/usr/bin/env bash
# One role and one database each for Prefect and MLflow. Postgres runs this once, when its volume is empty.
set -euo pipefail

create() { # name, password; which is no argument of psql, since those are everybody's to read
  ROLE_PASSWORD=$2 psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --set name="$1" <<'SQL'
\getenv password ROLE_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

create prefect "$PREFECT_DATABASE_PASSWORD"
create mlflow "$MLFLOW_DATABASE_PASSWORD"
