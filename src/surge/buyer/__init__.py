"""The buyer's room: jobs, scheduling, auditing, paying.

A job is a row of items and a function (or a command). The scheduler, which is pure, cuts the items into units and
says which provider gets which; a `Peer` carries units to one provider over one channel; the auditor judges every
answer before anybody is paid; the payer acknowledges what was accepted and signs one voucher for all of it; the
journal keeps enough of this on disk that a killed buyer goes on where it stopped and pays for nothing twice.

What this room does not do: it never runs a unit on trust (invariant 2), never decodes a result as code (invariant 3),
and never holds a private key: keys stay in the wallet room and sign through it.
"""
