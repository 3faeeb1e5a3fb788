"""For looking through run directories: the runs of a folder, their kept answers, and what may be deleted.

`run_list` and `kept_answers` read, `run_table` and `answer_table` print in a terminal, `answer_page` writes HTML.
`pruning` decides what finished runs can lose, by what the registry holds (`copies`), and deletes only that.
"""
