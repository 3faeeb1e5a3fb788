"""The system calls that a program in the sandbox is refused: a filter for the kernel, in classic BPF."""

from __future__ import annotations

import os
import struct

from sgpo.problems.domains.registry import DomainError

_ALLOW, _ERRNO, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050000, 1, 38
_CLONE_THREAD = 0x00010000
_CLONE3 = 435
_AUDIT_CLONE = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}
_REFUSED = {
    # New processes; aarch64 has none of these.
    "fork": (57, None), "vfork": (58, None),
    # Memory of the kernel that is no process's, so that no limit bounds it: shared memory, queues, semaphores, files in
    # memory, extended attributes (1.3 GB in four seconds before they were refused), watches, asynchronous input.
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "memfd_create": (319, 279), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463), "inotify_add_watch": (254, 27),
    "io_setup": (206, 0), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "memfd_secret": (447, 447),
    # Namespaces and mounts of its own: there it could mount a file system of any size.
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "mount_setattr": (442, 442),
    # Ways around this filter, or into the kernel, that no program here needs.
    "ptrace": (101, 117), "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}  # fmt: skip
"""The numbers of each on x86_64 and on aarch64."""


def refused_calls() -> bytes:
    """Return a filter that refuses clone but for threads, and the calls above; seccomp(2) has the layout.

    RLIMIT_NPROC does not bind root and counts a user's other processes too. clone3, whose flags a filter cannot read,
    is answered as if the kernel had none: the C library then takes clone. Raises DomainError on another machine.
    """
    machine = os.uname().machine
    if machine not in _AUDIT_CLONE:
        raise DomainError(f"code runs on {' and '.join(_AUDIT_CLONE)} only (this is {machine})")
    audit, clone = _AUDIT_CLONE[machine]
    numbers = [pair[list(_AUDIT_CLONE).index(machine)] for pair in _REFUSED.values()]

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    load, equal, larger, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    refuse = [instruction(answer, _ERRNO | _EPERM)]
    program = [instruction(load, 4), instruction(equal, audit, 1, 0), *refuse, instruction(load, 0)]
    program += [instruction(larger, 0x40000000, 0, 1), *refuse]  # the x32 numbers
    for number in numbers:
        program += [] if number is None else [instruction(equal, number, 0, 1), *refuse]
    program += [instruction(equal, _CLONE3, 0, 1), instruction(answer, _ERRNO | _ENOSYS)]
    program += [instruction(equal, clone, 0, 3), instruction(load, 16), instruction(any_bit, _CLONE_THREAD, 1, 0)]
    return b"".join([*program, *refuse, instruction(answer, _ALLOW)])
