"""Bodies of the compute service's calls: `prepare`, `setup`, `run`.

`prepare` names what a job needs and is answered by what is missing; the buyer uploads that and asks again until nothing is
missing and the image is compiled. `setup` runs a Python job's module once. `run` runs one unit.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from surge.core.messages.fields import Bytes32, Count, Inline, MaybeBytes32, Text, decode
from surge.core.units import PROVABLE, Limits, Outcome, Part, Status, UnitSpec
from surge.errors import PeerFault

MAX_FILES = 4096
"""Files one unit may write: bounds the outcome that describes them."""

Path = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A body. Which one is meant follows from the call's method."""


class LimitsField(Body, frozen=True):
    """`core.units.Limits` on the wire."""

    memory: Count
    fuel: Count
    wall_ms: Count
    output: Count
    open_files: Count

    @classmethod
    def of(cls, limits: Limits) -> LimitsField:
        """The wire form of `limits`."""
        return cls(limits.memory, limits.fuel, limits.wall_ms, limits.output, limits.open_files)

    def limits(self) -> Limits:
        """The limits meant."""
        return Limits(self.memory, self.fuel, self.wall_ms, self.output, self.open_files)


class Prepare(Body, frozen=True):
    """What a job needs on the device before its first unit."""

    job: Bytes32
    """The job's id: its salt's hash, so that it tells nothing about the work."""
    image: Bytes32
    image_size: Count
    """Bytes of the image, so that an upload can be refused before it starts; 0 for the pinned Python image."""
    bundle: MaybeBytes32
    """Empty when there is none."""
    bundle_size: Count
    contents: Annotated[list[tuple[Bytes32, Count]], msgspec.Meta(max_length=MAX_FILES)]
    """Other contents that units of the job read: (SHA-256, bytes)."""


class Prepared(Body, frozen=True):
    """`missing` lists contents to upload before asking again; when it is empty the image is compiled and ready."""

    missing: Annotated[list[Bytes32], msgspec.Meta(max_length=MAX_FILES + 2)]
    compile_ms: Count
    """Milliseconds that compiling took; 0 when the code was there."""


class Setup(Body, frozen=True):
    """Run a Python job's setup: its module's top level. Answered like a unit; without a receipt if a snapshot was there."""

    job: Bytes32
    image: Bytes32
    bundle: MaybeBytes32
    setup: Annotated[bytes, msgspec.Meta(max_length=16384)]
    limits: LimitsField
    salt: Bytes32


class RunUnit(Body, frozen=True):
    """Run one unit. The device derives the unit's id from these fields, its own engine, and the hash of the input."""

    job: Bytes32
    image: Bytes32
    bundle: MaybeBytes32
    setup: Annotated[bytes, msgspec.Meta(max_length=16384)]
    entry: Annotated[bytes, msgspec.Meta(max_length=131072)]
    items: Inline
    """The input, when it is small enough to be carried here."""
    content: MaybeBytes32
    """The input's content id, when it was uploaded; then `items` is empty."""
    limits: LimitsField
    salt: Bytes32
    expected: Count = 0
    """Fuel that the buyer expects it to take, 0 where it does not know: how much of what is covered is set aside for it. No promise, and no
    part of the unit."""

    def spec(self, world: str, engine: bytes, items: bytes) -> UnitSpec:
        """The unit meant, for a device with this world and engine; `items` is the SHA-256 of the input."""
        return UnitSpec(
            world=world,
            engine=engine,
            image=self.image,
            bundle=self.bundle or None,
            setup=self.setup,
            entry=self.entry,
            items=items,
            limits=self.limits.limits(),
            salt=self.salt,
        )


class PartField(Body, frozen=True):
    """`core.units.Part` on the wire."""

    digest: Bytes32
    size: Count

    @classmethod
    def of(cls, part: Part) -> PartField:
        """The wire form of a part."""
        return cls(part.digest, part.size)

    def part(self) -> Part:
        """The part meant."""
        return Part(self.digest, self.size)


class UnitDone(Body, frozen=True):
    """How a unit ended, in a provable way. The output's bytes follow inline or as pieces."""

    status: Annotated[int, msgspec.Meta(ge=0, le=63)]
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=0xFFFFFFFF)]
    value: PartField
    stdout: PartField
    stderr: PartField
    files: Annotated[list[tuple[Path, PartField]], msgspec.Meta(max_length=MAX_FILES)]
    state: MaybeBytes32
    fuel: Count
    seconds_us: Count
    """Microseconds the unit took on the device: a hint for scheduling, never billed."""
    output: Inline
    """The output blob when it is small; empty when pieces follow."""
    detail: Text
    """What the guest's trap said, for people."""

    @classmethod
    def of(cls, outcome: Outcome, seconds: float, output: bytes, detail: str) -> UnitDone:
        """The wire form of an outcome."""
        return cls(
            int(outcome.status),
            outcome.exit_code,
            PartField.of(outcome.value),
            PartField.of(outcome.stdout),
            PartField.of(outcome.stderr),
            [(path, PartField.of(part)) for path, part in outcome.files],
            outcome.state,
            outcome.fuel,
            round(seconds * 1e6),
            output,
            detail[:4096],
        )

    def outcome(self) -> Outcome:
        """The outcome claimed."""
        return Outcome(
            status=Status(self.status),
            exit_code=self.exit_code,
            value=self.value.part(),
            stdout=self.stdout.part(),
            stderr=self.stderr.part(),
            files=tuple((path, part.part()) for path, part in self.files),
            state=self.state,
            fuel=self.fuel,
        )


_prepare = msgspec.msgpack.Decoder(Prepare)
_prepared = msgspec.msgpack.Decoder(Prepared)
_setup = msgspec.msgpack.Decoder(Setup)
_run_unit = msgspec.msgpack.Decoder(RunUnit)
_unit_done = msgspec.msgpack.Decoder(UnitDone)
_encoder = msgspec.msgpack.Encoder()


def encode_body(body: Body) -> bytes:
    """A body's bytes."""
    return _encoder.encode(body)


def decode_prepare(data: bytes) -> Prepare:
    """The body of a `prepare` call, or `PeerFault`."""
    return decode(_prepare, data, "a prepare call")


def decode_prepared(data: bytes) -> Prepared:
    """The body of a `prepare` answer, or `PeerFault`."""
    return decode(_prepared, data, "a prepare answer")


def decode_setup(data: bytes) -> Setup:
    """The body of a `setup` call, or `PeerFault`."""
    return decode(_setup, data, "a setup call")


def decode_run_unit(data: bytes) -> RunUnit:
    """The body of a `run` call, or `PeerFault`."""
    return decode(_run_unit, data, "a run call")


def decode_unit_done(data: bytes) -> UnitDone:
    """The body of a `run` or `setup` answer, or `PeerFault`."""
    done = decode(_unit_done, data, "a unit's answer")
    if done.status not in PROVABLE:
        raise PeerFault(f"a unit's answer claims the ending {done.status}, which nobody could prove", status=done.status)
    return done
