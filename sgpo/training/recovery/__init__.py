"""What keeps a run going or ends it well: `session` (resume, record, save, stop), signals, memory, origin."""
