"""Stores: where the ledger, the vault and the registry are kept. SQLite is the embedded default."""
