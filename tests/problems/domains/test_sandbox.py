"""Code in the sandbox: right programs pass, hostile ones are harmless and wrong, and nothing runs without it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from sgpo.config import DomainConfig
from sgpo.problems import Problem, Verifier
from sgpo.problems.domains.code import sandbox, system_calls
from sgpo.problems.domains.code.cases import cases_of
from sgpo.problems.domains.code.harness import READY
from sgpo.problems.domains.code.sandbox import Limits, SandboxError, check_sandbox, run_calls
from sgpo.problems.domains.code.system_calls import refused_calls
from sgpo.problems.domains.fences import last_block
from sgpo.problems.domains.registry import DomainError

pytestmark = pytest.mark.slow


def why_no_sandbox() -> str:
    try:
        check_sandbox()
    except SandboxError as error:
        return str(error)
    return ""


OWN_MB = 19
NO_SANDBOX = why_no_sandbox()
needs_sandbox = pytest.mark.skipif(bool(NO_SANDBOX), reason=NO_SANDBOX or "there is one")

ADD = Problem(
    question="Write add(a, b), the sum of two numbers.", answer="def add(a, b):\n    return a + b", domain="code",
    details='{"tests": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add([1], [2]) == [1, 2]"]}',
)  # fmt: skip


@pytest.fixture(scope="module")
def verifier():
    with Verifier(workers=1, domains={"code": DomainConfig(options={"files_mb": OWN_MB}, timeout_s=60.0)}) as verifier:
        yield verifier


def fenced(program: str) -> str:
    return f"Here it is.\n```python\n{program}\n```\n"


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "score"),
    [("def add(a, b):\n    return a + b", 1.0), ("from operator import add", 1.0),
     ("import threading\ndef add(a, b):\n    t = threading.Thread(target=print); t.start(); t.join()\n    return a + b",
      1.0),
     ("def add(a, b):\n    return 3", 1 / 3), ("def add(a, b):\n    return str(a + b)", 0.0),
     ("def add(a, b):\n    raise ValueError", 0.0), ("def plus(a, b):\n    return a + b", 0.0), ("def add(a, b", 0.0)],
)  # fmt: skip
def test_a_program_scores_the_share_of_tests_that_pass(program: str, score: float, verifier: Verifier) -> None:
    verdict = verifier.score(fenced(program), ADD)
    assert (verdict.score, verdict.correct) == (pytest.approx(score), score == 1.0)


HOSTILE = {
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "fork bomb of a shell": "import subprocess\nsubprocess.run('f(){ f|f& };f', shell=True)",
    "fills the disk": "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'wb').write(bytes(10**7)); n += 1",
    "reads the environment": "import os\nSEEN = repr(dict(os.environ)) + open('/proc/1/environ').read()\n"
    "def add(a, b):\n    return SEEN",
    "never ends": "while True:\n    pass",
    "ignores signals and sleeps": "import signal, time\nfor n in range(1, 32):\n    try:\n"
    "        signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\ntime.sleep(10**6)",
    "prints 1 GB": "import os\nfor _ in range(1000):\n    print('x' * 10**6)\nfor f in range(3, 32):\n    try:\n"
    "        for _ in range(1000): os.write(f, bytes(10**6))\n    except OSError: pass",
    "exits with 0 before the tests": "import os\nos._exit(0)",
    "patches the tests": "import builtins, sys\nclass Same:\n    def __eq__(self, other): return True\n"
    "    def __repr__(self): return '3'\nbuiltins.repr = lambda value: '3'\nsys.exit = lambda code=0: None\n"
    "def add(a, b):\n    return Same()",
    "writes results itself": 'import os\nfor f in range(3, 32):\n    try: os.write(f, b\'["3", "3", "3"]\')\n'
    "    except OSError: pass\nos._exit(0)",
    "deletes files": "import os, shutil\nfor place in ('/usr', '/etc', '/home', '/root', '/tmp', '/'):\n"
    "    shutil.rmtree(place, ignore_errors=True)",
    "opens sockets": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 3).send(b'x')\n"
    "def add(a, b):\n    return a + b",
    "grows memory": "kept = []\nwhile True:\n    kept.append(bytearray(10**7))",
    "nests its own results": "import os\nfor f in range(3, 32):\n    try: os.write(f, b'[' * 900_000)\n"
    "    except OSError: pass\nos._exit(0)",
    "writes what is no text": "import os\nfor f in range(3, 32):\n    try: os.write(f, bytes(range(256)))\n"
    "    except OSError: pass\nos._exit(0)",
    "returns an expression of any depth": "class Deep:\n    def __repr__(self): return '-' * 19_999 + '3'\n"
    "def add(a, b):\n    return Deep()",
    "returns a number without end": "def add(a, b):\n    return 10**4000",
    "kills everything": "import os\nos.kill(-1, 9)",
    "recurses without end": "import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b):\n    return add(a, b)",
    "leaves by SystemExit in a test": "def add(a, b):\n    raise SystemExit(0)",
    "fills the kernel's memory by semaphores": "import ctypes\nlibc = ctypes.CDLL(None)\n"
    "while libc.semget(0, 32000, 0o1600) >= 0:\n    pass",
    "fills the kernel's memory by attributes": "import os\nopen('/tmp/a', 'w').close()\nn = 0\nwhile True:\n"
    "    os.setxattr('/tmp/a', f'user.{n}', bytes(60_000)); n += 1",
    "begins threads without end": "import threading, time\nwhile True:\n"
    "    threading.Thread(target=time.sleep, args=(600,)).start()",
    "sleeps as it ends": "import atexit, threading, time\natexit.register(time.sleep, 600)\n"
    "threading.Thread(target=time.sleep, args=(600,)).start()\ndef add(a, b):\n    return 0",
    "is equal to everything it meets": "class Same(int):\n    __eq__ = lambda self, other: True\n"
    "    __hash__ = int.__hash__\n    def __repr__(self): return 'Same()'\ndef add(a, b):\n    return Same(3)",
}


@needs_sandbox
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_harmless_and_wrong(
    name: str, verifier: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    mark.write_text("still here", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        started = time.monotonic()
        verdict = verifier.score(fenced(HOSTILE[name].replace("PORT", str(server.getsockname()[1]))), ADD)
        assert time.monotonic() - started < 30
        with pytest.raises(TimeoutError):
            server.accept()
    assert not verdict.correct
    assert verdict.reason == "wrong", "a hostile program is wrong, not a fault of the verifier"
    assert mark.read_text(encoding="utf-8") == "still here"
    assert Path("/usr/bin/env").exists()
    deadline = time.monotonic() + 10
    while sandboxes(OWN_MB) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sandboxes(OWN_MB)
    assert verifier.score(fenced("def add(a, b):\n    return a + b"), ADD).correct


def sandboxes(files_mb: int) -> set[str]:
    """The process ids of sandboxes on this machine whose scratch folder has this size, which tells them apart."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"--size\0{files_mb << 20}\0".encode() in (entry / "cmdline").read_bytes():
                found.add(entry.name)
    return found


def runs_a_program(found: set[str]) -> bool:
    """Whether one of these sandboxes has come so far that Python runs in it."""
    inside = [child for pid in found for child in psutil.Process(int(pid)).children(recursive=True)]
    return any(child.name().startswith("python") for child in inside)


@needs_sandbox
def test_nothing_of_the_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGPO_TEACHER_API_KEY", "secret")
    program = (
        "import os\ndef look():\n    everything = []\n"
        "    for number in os.listdir('/proc'):\n        if number.isdigit():\n"
        "            everything.append(open(f'/proc/{number}/environ', errors='replace').read())\n"
        "    return [os.getuid(), 'secret' in repr(everything) + repr(os.environ), os.path.exists('/etc/passwd'),\n"
        f"            os.path.exists({str(Path(__file__))!r}), os.listdir('/tmp'), len(everything) < 4]"
    )
    outcome = run_calls(program, ["look()"], Limits())
    assert outcome.values == ("[65534, False, False, False, [], True]",)


@needs_sandbox
def test_a_sandbox_ends_with_the_process_that_began_it() -> None:
    """Killed without a word, as a worker is whose time is up."""
    program = (
        "from sgpo.problems.domains.code.sandbox import Limits, run_calls\n"
        f"run_calls('import time\\ntime.sleep(600)', [], Limits(seconds=600.0, files_mb={OWN_MB + 1}))\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 60
    # bubblewrap asks to end with its parent a moment after it has started: by the time the program runs it has.
    while not runs_a_program(sandboxes(OWN_MB + 1)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert runs_a_program(sandboxes(OWN_MB + 1))
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    while sandboxes(OWN_MB + 1) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not sandboxes(OWN_MB + 1)


@needs_sandbox
@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 5, 8, 12, 18, 25, 40])
def test_a_sandbox_that_loses_its_parent_at_any_moment_of_its_start_runs_no_program(delay_ms: int) -> None:
    """bubblewrap asks to end with its parent a moment after it has started: nothing of ours depends on when."""
    limits = Limits(seconds=600.0, files_mb=OWN_MB + 2)
    with tempfile.TemporaryFile() as filtered:
        filtered.write(refused_calls())
        filtered.seek(0)
        process = subprocess.Popen(
            sandbox._command(limits, filtered.fileno()), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, pass_fds=(filtered.fileno(),),
        )  # fmt: skip
        time.sleep(delay_ms / 1000)
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    deadline = time.monotonic() + 30
    while sandboxes(OWN_MB + 2) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not sandboxes(OWN_MB + 2)


@needs_sandbox
def test_a_program_comes_only_when_the_sandbox_is_tied_to_us_and_not_at_all_when_we_are_gone() -> None:
    limits = Limits(seconds=600.0, files_mb=OWN_MB + 3)
    with tempfile.TemporaryFile() as filtered:
        filtered.write(refused_calls())
        filtered.seek(0)
        process = subprocess.Popen(
            sandbox._command(limits, filtered.fileno()), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pass_fds=(filtered.fileno(),),
        )  # fmt: skip
        assert process.stdout.read(1) == READY
        inside = psutil.Process(process.pid).children()
        # What has the filter of system calls has asked to end with its parent: the first process inside.
        assert "Seccomp:\t2" in Path(f"/proc/{inside[0].pid}/status").read_text(encoding="utf-8")
        process.stdin.close()
        assert (process.stdout.read(), process.wait(30)) == (b"", 1)
        process.stdout.close()


UNDER_A_FILTER = """
import ctypes, struct
from sgpo.problems.domains.code.harness import _filters
from sgpo.problems.domains.code.sandbox import Limits, run_calls
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow)))
seen = []
for _ in range(2):
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
    seen.append(_filters("self"))
print(seen[0] != seen[1], seen[0][0] == seen[1][0] == b"Seccomp:\\t2\\n", *run_calls("", ["6 * 7"], Limits()).values)
"""


@needs_sandbox
def test_in_a_container_that_filters_system_calls_the_sandbox_is_not_taken_for_tied_by_that_filter() -> None:
    """Every process there has a filter from its start: only their number says that bubblewrap's has come."""
    done = subprocess.run([sys.executable, "-c", UNDER_A_FILTER], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "True", "42"], done.stderr


@needs_sandbox
def test_a_sandbox_that_is_not_ready_in_time_is_no_verdict_on_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_START_SECONDS", 0.0)
    with pytest.raises(RuntimeError, match=r"no sandbox this time: it was not ready within 0 seconds"):
        run_calls("", ["1"], Limits())


@needs_sandbox
def test_a_job_longer_than_a_pipe_arrives_whole() -> None:
    calls = [f"double({number})" for number in range(9000)]
    outcome = run_calls("def double(x):\n    return 2 * x\n" + "#" * 40_000, calls, Limits())
    assert outcome.values == tuple(str(2 * number) for number in range(9000))


@needs_sandbox
def test_a_user_without_privileges_gets_the_same(tmp_path: Path) -> None:
    """As root the test drops to another user; bubblewrap needs no privileges."""
    if os.getuid() != 0:
        pytest.skip("this test's own user is that user")
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--", "id", "-u"]
    done = subprocess.run(command, capture_output=True, text=True, user=65534, group=65534, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "65534"), done.stderr


def test_without_bubblewrap_nothing_is_run_and_the_message_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    mark = tmp_path / "mark"
    with pytest.raises(SandboxError, match=r"no `bwrap` here .*apt install bubblewrap"):
        run_calls(f"open({str(mark)!r}, 'w')", [], Limits())
    with pytest.raises(DomainError, match=r"no `bwrap` here"), Verifier(workers=1, problems=[ADD]):
        pass
    assert not mark.exists()


def test_a_bubblewrap_that_does_not_work_is_a_refusal_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        SandboxError, match=r"No permissions to create new namespace \(expected unprivileged user names"
    ):
        check_sandbox()
    with pytest.raises(RuntimeError, match="no sandbox this time"):
        run_calls("", [], Limits())


def test_a_machine_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_calls, "_AUDIT_CLONE", {})
    with pytest.raises(DomainError, match=os.uname().machine):
        refused_calls()


def test_the_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("text", "program"),
    [(fenced("x = 1"), "x = 1"), (fenced("x = 1") + fenced("x = 2"), "x = 2"), ("```\nx = 1\n```", "x = 1"),
     ("```python\nx = 1", None), (fenced("x = 1") + "```python\nx = 2", None), ("x = 1", None), ("```\n```", None),
     ("~~~py\nx = '```'\n~~~", "x = '```'"), ("````md\n```\nx\n```\n````", "```\nx\n```")],
)  # fmt: skip
def test_the_last_closed_fence_is_the_program(text: str, program: str | None) -> None:
    assert last_block(text) == program


@pytest.mark.parametrize(
    ("details", "message"),
    [(None, "has no tests"), ('{"tests": []}', "has no tests"),
     ('{"tests": ["assert f(1)"]}', r"test 1 is 'assert f\(1\)'"),
     ('{"tests": ["assert f(1) == 2", "f(1) == g(2)"]}', "test 2 is"),
     ('{"tests": ["assert f(1) == g(2)"]}', "test 1 is"),
     ('{"tests": [3]}', "test 1 is 3")],
)  # fmt: skip
def test_tests_that_cannot_be_used_are_named(details: str | None, message: str) -> None:
    with pytest.raises(DomainError, match=rf"problem 'p': {message}|problem 'p' {message}"):
        cases_of(Problem(id="p", question="Write f.", answer="def f(): ...", domain="code", details=details))


_LIBC = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"


@needs_sandbox
def test_no_expected_value_is_anywhere_in_the_sandbox() -> None:
    """Neither in the memory of the processes, nor in their arguments, nor in what is open."""
    secret = 987_654_321
    program = (
        "import os\ndef f(x):\n    found = []\n    wanted = str(x // 2).encode()\n"
        "    for pid in (p for p in os.listdir('/proc') if p.isdigit()):\n"
        "        for name in ('cmdline', 'environ'):\n            try:\n"
        "                if wanted in open(f'/proc/{pid}/{name}', 'rb').read(): found.append((pid, name))\n"
        "            except OSError: pass\n"
        "        try: maps = open(f'/proc/{pid}/maps').readlines(); memory = open(f'/proc/{pid}/mem', 'rb', 0)\n"
        "        except OSError: continue\n"
        "        for line in maps:\n            begin, end = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "            try:\n                memory.seek(begin); text = memory.read(end - begin)\n"
        "            except (OSError, OverflowError, ValueError): continue\n"
        "            if text.count(wanted) > MINE: found.append((pid, line))\n"
        "    return bool(found)\n"
    )
    problem = ADD.model_copy(update={"details": json.dumps({"tests": [f"assert f({2 * secret}) == {secret}"]})})
    calls = [case.call for case in cases_of(problem)]
    # The program makes the text that it looks for, so that it is there a few times; a planted one is there more often.
    few = run_calls(program.replace("MINE", "20"), calls, Limits())
    planted = f"kept = [str({secret}).encode() + bytes([n]) for n in range(200)]\n{program.replace('MINE', '20')}"
    assert (few.values, run_calls(planted, calls, Limits()).values) == (("False",), ("True",))


@needs_sandbox
@pytest.mark.parametrize(
    "call",
    ["libc.unshare(0x10000000 | 0x20000)", "libc.shmget(0, 1 << 20, 0o1600)", "libc.msgget(0, 0o1600)",
     "libc.memfd_create(b'a', 0)", "libc.semget(0, 32000, 0o1600)", "libc.setxattr(b'/tmp', b'user.a', b'a', 1, 0)",
     "libc.inotify_add_watch(libc.inotify_init(), b'/tmp', 2)",
     "libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None)", "libc.setns(0, 0)"],
)  # fmt: skip
def test_memory_that_no_limit_bounds_is_refused(call: str) -> None:
    """Shared memory outlives its mapping, and a namespace of its own lets a program mount any size."""
    outcome = run_calls(_LIBC, [f"({call}, ctypes.get_errno())"], Limits())
    assert outcome.values == ("(-1, 1)",)


@needs_sandbox
def test_programs_have_what_they_need_beside() -> None:
    source = "import tempfile, mmap, concurrent.futures as c\n"
    calls = [
        "list(c.ThreadPoolExecutor(2).map(abs, [-1, 2]))",
        "tempfile.TemporaryFile().write(b'a')",
        "len(mmap.mmap(-1, 1))",
    ]
    assert run_calls(source, calls, Limits()).values == ("[1, 2]", "1", "1")
