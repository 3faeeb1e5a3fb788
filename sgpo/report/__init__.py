"""The report of a run: one HTML file that loads nothing, for the model's owner.

`run_record` reads a run directory, whatever is missing from it; `decision` says what was decided, `panels` and `charts`
draw, `bank` and `trajectories` show what strategies did, `page` writes the file. Nothing here changes a run.
"""
