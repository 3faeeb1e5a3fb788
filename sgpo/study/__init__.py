"""Studies: methods compared over worlds and seeds; each cell is a run, each result a line of a file.

`cells` lists a study's cells, `rates` takes each method's learning rate from the tuning split, `jobs` is the run of a
cell, `runs` trains and measures, `results` is the file of lines, `report` makes its tables and figures.
"""
