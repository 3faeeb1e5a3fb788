"""Studies: methods compared over worlds and seeds, each cell a run, each outcome a line of a file.

cells.py: from the file to its cells. rates.py: each method's learning rate, from the tuning split. jobs.py: the run of
a cell. runs.py: training and measuring. results.py: the file of lines. report.py: tables and figures of it.
"""
