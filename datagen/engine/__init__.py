"""The journey's engine: a content-addressed store, an append-only ledger, one loop, one command
line.
"""
