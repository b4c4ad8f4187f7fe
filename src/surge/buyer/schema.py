"""The tables of a buyer's journal. A script that was released is never changed: what follows it changes what it made."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id BLOB PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, plan BLOB NOT NULL,
        total INTEGER, spooled INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT ''
    ) WITHOUT ROWID;
    CREATE TABLE inputs (
        job BLOB NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, sizes BLOB NOT NULL, data BLOB,
        PRIMARY KEY (job, first)
    ) WITHOUT ROWID;
    CREATE TABLE cuts (
        job BLOB NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
        retired INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, number)
    ) WITHOUT ROWID;
    CREATE TABLE tries (
        job BLOB NOT NULL, number INTEGER NOT NULL, channel BLOB NOT NULL, unit BLOB NOT NULL, fuel INTEGER NOT NULL,
        prices BLOB NOT NULL, PRIMARY KEY (channel, unit)
    ) WITHOUT ROWID;
    CREATE INDEX tries_of_job ON tries (job);
    CREATE TABLE results (
        job BLOB NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, value BLOB, error TEXT,
        PRIMARY KEY (job, first)
    ) WITHOUT ROWID;
    CREATE TABLE channels (
        id BLOB PRIMARY KEY, device TEXT NOT NULL, operator TEXT NOT NULL, key TEXT NOT NULL, terms BLOB NOT NULL,
        deposit TEXT NOT NULL, state TEXT NOT NULL, opened REAL NOT NULL,
        amount TEXT NOT NULL DEFAULT '0', count INTEGER NOT NULL DEFAULT 0, root BLOB, signature BLOB
    ) WITHOUT ROWID;
    CREATE TABLE receipts (
        channel BLOB NOT NULL, number INTEGER NOT NULL, sequence INTEGER NOT NULL, receipt BLOB NOT NULL,
        signature BLOB NOT NULL, digest BLOB NOT NULL, leaf BLOB NOT NULL, accepted INTEGER NOT NULL,
        kind INTEGER NOT NULL, subject BLOB NOT NULL, amount TEXT NOT NULL, quantity INTEGER NOT NULL, outcome BLOB,
        job BLOB, finished INTEGER NOT NULL,
        PRIMARY KEY (channel, number)
    ) WITHOUT ROWID;
    CREATE INDEX receipts_of_job ON receipts (job);
    CREATE INDEX receipts_by_subject ON receipts (subject);
    CREATE TABLE job_terms (
        job BLOB NOT NULL, channel BLOB NOT NULL, terms BLOB NOT NULL, PRIMARY KEY (job, channel)
    ) WITHOUT ROWID;
    CREATE TABLE events (job BLOB NOT NULL, time REAL NOT NULL, text TEXT NOT NULL);
    CREATE INDEX events_of_job ON events (job);
    """,
    """
    CREATE TABLE intents (
        channel BLOB NOT NULL, kind INTEGER NOT NULL, subject BLOB NOT NULL, job BLOB NOT NULL, size INTEGER NOT NULL,
        amount TEXT NOT NULL, asked INTEGER NOT NULL, paid INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (channel, kind, subject, job)
    ) WITHOUT ROWID;
    ALTER TABLE channels ADD COLUMN salt BLOB;
    """,
    """
    ALTER TABLE channels ADD COLUMN floor TEXT NOT NULL DEFAULT '0';
    ALTER TABLE channels ADD COLUMN opened_for BLOB;
    """,
    """
    ALTER TABLE results ADD COLUMN failed INTEGER;
    CREATE INDEX results_counted ON results (job, failed, count);
    """,
    """
    CREATE TABLE pieces (
        job BLOB NOT NULL, kind INTEGER NOT NULL, first INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
        PRIMARY KEY (job, kind, first, number)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE signed_terms (
        channel BLOB NOT NULL, terms BLOB NOT NULL, signature BLOB NOT NULL, signed REAL NOT NULL, PRIMARY KEY (channel, terms)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE evidence (
        device TEXT PRIMARY KEY, operator TEXT NOT NULL, units REAL NOT NULL, passed REAL NOT NULL, failed REAL NOT NULL,
        updated REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE audits (
        job BLOB NOT NULL, number INTEGER NOT NULL, device TEXT NOT NULL, operator TEXT NOT NULL, channel BLOB NOT NULL,
        receipt BLOB NOT NULL, unit BLOB NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, how TEXT NOT NULL,
        verdict TEXT NOT NULL, claimed_result BLOB NOT NULL, claimed_fuel INTEGER NOT NULL, found_result BLOB, found_fuel INTEGER,
        seconds REAL NOT NULL, time REAL NOT NULL
    );
    CREATE INDEX audits_of_job ON audits (job);
    """,
    """
    CREATE TABLE disputes (
        receipt BLOB PRIMARY KEY, number INTEGER, state TEXT NOT NULL, opened REAL NOT NULL, accused TEXT NOT NULL, result BLOB NOT NULL,
        fuel TEXT NOT NULL, jurors INTEGER NOT NULL, most INTEGER NOT NULL, worth TEXT NOT NULL, secrets BLOB NOT NULL,
        outcome INTEGER NOT NULL DEFAULT 0, collected TEXT NOT NULL DEFAULT '0'
    ) WITHOUT ROWID;
    CREATE TABLE dispute_inputs (
        receipt BLOB NOT NULL, juror TEXT NOT NULL, kept INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (receipt, juror)
    ) WITHOUT ROWID;
    CREATE TABLE dispute_events (receipt BLOB NOT NULL, time REAL NOT NULL, text TEXT NOT NULL);
    CREATE INDEX dispute_events_of ON dispute_events (receipt);
    """,
    """
    CREATE TABLE seen (
        device TEXT NOT NULL, day INTEGER NOT NULL, what TEXT NOT NULL, count REAL NOT NULL, PRIMARY KEY (device, day, what)
    ) WITHOUT ROWID;
    CREATE INDEX receipts_counted ON receipts (channel, kind, accepted, finished);
    """,
)
