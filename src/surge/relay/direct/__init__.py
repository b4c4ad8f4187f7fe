"""Direct connections: a session straight to a device that others can reach, without a relay between.

`wire` is the carrier: packets over one TCP connection, which carries one session. `door` takes connections for a device's listener, and
`dialling` makes them, to the addresses that devices state in their offers. The session is the same as through a relay (`relay.client`): the
same handshake, frames and windows, so that what carries it is believed about nothing here either.

Who dials says nothing before it was greeted, so that whatever else it was sent to learns nothing but its address.
"""
