"""Keys on disk, signing, and sealing: the only room that sees a private key.

Everyone else holds a `KeySigner`, which signs digests, or a `ReceivingKey`, which opens envelopes, and neither says more than who it is.
"""

from surge.wallet.keystore import KeySigner, Keystore
from surge.wallet.sealing import ReceivingKey, seal

__all__ = ["KeySigner", "Keystore", "ReceivingKey", "seal"]
