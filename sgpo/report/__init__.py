"""The report of a run: one HTML file that loads nothing, for the person who owns the model.

`run_record` reads a run directory with whatever is missing; `decision` says what was decided, `panels` and `charts`
draw, `bank` and `trajectories` say what strategies did, `page` writes the file. Nothing here changes a run.
"""
