"""The stages of dvc.yaml, and everything else that uses DVC: where the other folders' code makes versioned data.

`stages` has a function per stage, `teacher` selects the strong model, `probe` and `splits` decide what is trained on,
`imports` takes problems of your own, `bank_versions` and `reproduction` read earlier versions, `report` summarises a
retraining. Nothing else under sgpo imports dvc.
"""
