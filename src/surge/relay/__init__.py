"""The relay room: how devices behind NAT find and reach one another.

`server` runs a relay: it supervises a `nats-server`, answers its auth callout and keeps the board of offers.
`client` uses relays: `Relays` publishes and finds offers and opens `Session`s, encrypted end to end. Only this room
speaks NATS. What both sides must agree on stands here: `login` (the text a client signs, and the subjects), `board`
(questions to the offer board), `connection` (the NATS protocol) and `pace` (how fast things may go).

The room does not decide whom to trust, what an offer is worth or what the messages of a session mean. It promises that
nobody logs in, publishes or listens under another's address; that a relay sees only ciphertext of a session; and that
messages of a session arrive once, in order and unchanged, or the session ends with an error.
"""
