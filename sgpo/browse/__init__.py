"""What lies in run directories, to be looked through: the runs of a folder, their kept answers, what may be deleted.

`run_list` and `kept_answers` read, `run_table` and `answer_table` draw in a terminal, `answer_page` writes HTML;
`pruning` says what of finished runs may go, by what the registry holds (`copies`), and deletes that and nothing else.
"""
