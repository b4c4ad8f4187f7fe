"""The rules: what is hashed, signed, owed and proved. Pure: no I/O, no clock, no randomness, no async.

Untrusted bytes enter through one decoder per message or file and leave it as a verified, typed value. State machines take a state
and an input and give a state and effects; the rooms above do the effects. Nothing here imports anything above `errors`.
"""
