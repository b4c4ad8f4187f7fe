"""Surge: a decentralised compute network in Python."""
