"""The stages of dvc.yaml, and what else asks DVC: the one place where rooms meet to make versioned data.

`stages` has a function per stage, `teacher` chooses the strong model, `probe` and `splits` decide what is trained on,
`imports` takes problems of one's own, `bank_versions` and `reproduction` read earlier versions, `report` tells what
came of a retraining. Nothing else under sgpo imports dvc.
"""
