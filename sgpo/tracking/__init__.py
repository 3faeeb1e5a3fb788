"""What is logged, under which names, and how it gets to MLflow.

`tracker` records a run in its own folder first, `mirror` copies the record to MLflow, `delivery` does so in a thread
that an unreachable server cannot hold up, `client` opens servers and databases. Imports mlflow only when it is used.
"""
