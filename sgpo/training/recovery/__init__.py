"""What keeps a run going or ends it well: `session` with its `state` (resume, save, stop), signals, memory, origin."""
