"""What resuming needs: sharded checkpoints, written in the background, published whole, and stored on S3.

`checkpoint` writes, finds and loads them, `collectives` is how processes do so together, `kept` decides which stay,
`sharded_state` is what the shards contain, `stored_run` sends and fetches.
A published checkpoint is never changed; its layout is a contract with existing runs.
"""
