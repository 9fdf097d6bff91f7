"""Custody: where the key that wraps all other keys lives.

A file is for development; HSMs and key services plug in here.
"""
