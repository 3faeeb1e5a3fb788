"""Looking at a bank of strategies: listing, families, retrieval, the report, and the difference of two versions.

Nothing here changes a bank, and no data stage depends on it. Heavy libraries are imported where they are used.
"""
