"""The daemon that lends a device: offers, sessions with buyers, windows, receipts, earnings.

    async with Provider(network=..., ledger=..., relays=..., device=..., operator=..., data=..., services=[Compute(...)]) as provider:
        await provider.run(stop)

It hosts services through the interface in `service` and imports none of them: who starts it registers what it lends (`compute` is
the first). What it signs is on disk before it leaves; what it is owed is kept until the ledger has paid it. It does not run
anything itself, does not hold funds, and believes a buyer only as far as that buyer's window.
"""
