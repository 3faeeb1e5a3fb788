"""What resuming needs: checkpoints written aside and published whole, sharded, in the background, and stored on S3.

`checkpoint` writes, finds and loads them, `collectives` is how processes do so together, `kept` says which stay,
`sharded_state` is what lies in the shards, `stored_run` sends and fetches.
A checkpoint that was published is never changed; the layout is a contract with runs that exist.
"""
