# SPDX-License-Identifier: MIT
"""What a run's processes are like, from /proc."""
import ctypes
import os
import re
import signal
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def prctl(option, value):
	if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
		raise OSError(ctypes.get_errno(), "prctl")


def read(pid, name):
	"""The text of a file in /proc/PID; empty if it cannot be had."""
	try:
		with open(f"/proc/{pid}/{name}", errors="replace") as file:
			return file.read()
	except OSError:
		return ""


def namespace(pid, kind):
	try:
		return os.readlink(f"/proc/{pid}/ns/{kind}")
	except OSError:
		return None


def below(ancestor):
	"""The pids of all descendants that have not ended."""
	children = {}
	for entry in os.listdir("/proc"):
		if not entry.isdigit():
			continue
		fields = read(entry, "stat").rpartition(")")[2].split()
		if fields and fields[0] != "Z":
			children.setdefault(int(fields[1]), []).append(int(entry))
	found, todo = [], [ancestor]
	while todo:
		new = children.get(todo.pop(), [])
		found += new
		todo += new
	return found


def status(pid, field):
	match = re.search(rf"^{field}:\s*(\S+)", read(pid, "status"), re.M)
	return match.group(1) if match else ""


def shared_memory(pids):
	"""How many different pieces of memory of each kind are mapped that an
	application may share with the X server."""
	kinds = {"System V": r"/SYSV\w+", "memfd of the X server": r"/memfd:xorg",
		"memfd": r"/memfd:\S+", "file in /dev/shm": r"/dev/shm/\S+"}
	found = {}
	for pid in pids:
		for line in read(pid, "maps").splitlines():
			fields = line.split(None, 5)
			if len(fields) < 6 or "s" not in fields[1]:
				continue
			for kind, pattern in kinds.items():
				if re.match(pattern, fields[5]):
					found.setdefault(kind, set()).add(
						(fields[3], fields[4]))
					break
	return {kind: len(pieces) for kind, pieces in found.items()}


def wishes(pids):
	"""For each thread of the processes, how long it has wanted to run, in
	nanoseconds: it ran, or it waited for a processor."""
	found = {}
	for pid in pids:
		try:
			tids = os.listdir(f"/proc/{pid}/task")
		except OSError:
			continue
		for tid in tids:
			fields = read(pid, f"task/{tid}/schedstat").split()
			if len(fields) > 1:
				found[int(tid)] = int(fields[0]) + int(fields[1])
	return found


def sandboxed(pids):
	"""How many of the processes live in a user or pid namespace of their
	own; those whose namespaces cannot be asked for do not count."""
	own = {kind: namespace("self", kind) for kind in ("user", "pid")}
	return sum(any(namespace(pid, kind) not in (None, own[kind])
		for kind in own) for pid in pids)


def most_filters(pids):
	"""The most seccomp filters that one process has."""
	return max((int(status(pid, "Seccomp_filters") or 0) for pid in pids),
		default=0)


def end_all(grace_s):
	"""End all descendants: wait for them, then kill. Returns how many had to
	be killed. The caller is a subreaper, and has none left afterwards."""
	deadline = time.monotonic() + grace_s
	killed = set()
	while bury():
		if time.monotonic() > deadline:
			for pid in below(os.getpid()):
				killed.add(pid)
				try:
					os.kill(pid, signal.SIGKILL)
				except ProcessLookupError:
					pass
		time.sleep(0.05)
	return len(killed)


def bury():
	"""Wait for what has ended; whether there are others."""
	try:
		while os.waitpid(-1, os.WNOHANG)[0]:
			pass
		return True
	except ChildProcessError:
		return False
