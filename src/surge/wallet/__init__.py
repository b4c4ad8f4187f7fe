"""Keys on disk, and signing: the only room that sees a private key.

Everyone else holds a `KeySigner`, which signs digests and says its address and nothing more.
"""

from surge.wallet.keystore import KeySigner, Keystore

__all__ = ["KeySigner", "Keystore"]
