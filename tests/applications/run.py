# SPDX-License-Identifier: MIT
"""
Run applications bare and wrapped, each time on an X server of its own, and
compare. Started by check-apps, which installs them.
"""
import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from PIL import Image

import events
import processes
import screen
import table
from applications import APPLICATIONS

HERE = os.path.dirname(os.path.abspath(__file__))
NOBODY = 65534
# A run's deadlines are the stage's; this is for a stage that hangs.
RUN_S = 900
# Of with-x: there is no X server. On a busy machine it may take too long.
NO_SERVER, TRIES = 125, 3


def own_death_signal():
	processes.prctl(processes.PR_SET_PDEATHSIG, signal.SIGTERM)


class Theatre:
	"""A place that an ordinary user can get to, with all that is needed."""

	def __init__(self, build, kept, engine):
		self.build, self.kept = build, kept
		self.engine = [f"--engine={engine}"] if engine else []
		self.directory = tempfile.mkdtemp(prefix="ff-apps-")
		os.chmod(self.directory, 0o755)
		self.programs = os.path.join(self.directory, "programs")
		shutil.copytree(HERE, self.programs,
			ignore=shutil.ignore_patterns("__pycache__"))
		self.clients = os.path.join(self.directory, "clients")
		os.mkdir(self.clients)
		for client in ("fence-client", "shm-client"):
			shutil.copy(f"{build}/tests/clients/{client}", self.clients)
		self.fenceferry = shutil.copy(f"{build}/fenceferry",
			self.directory)
		subprocess.run(["chmod", "-R", "a+rX", self.directory],
			check=True)
		self.is_root = os.geteuid() == 0

	def fingerprint(self):
		"""Of what is tried: results of the same go into one table."""
		with open(self.fenceferry, "rb") as file:
			return " ".join([hashlib.sha256(file.read()).hexdigest(),
				*self.engine])

	def own_directory(self, name):
		"""A directory for the user that applications run as."""
		path = os.path.join(self.directory, name)
		os.mkdir(path, 0o700)
		if self.is_root:
			os.chown(path, NOBODY, NOBODY)
		return path

	def on_server(self, kind, command, output):
		"""Run a command as that user on a new X server. Its status."""
		user = [f"--user={NOBODY}"] if self.is_root else []
		for _ in range(TRIES):
			with open(output, "ab") as file:
				status = self.wait_for(subprocess.Popen(
					[f"{self.build}/tests/xorg/with-x",
						kind, *user, "--", *command],
					stdout=file, stderr=file,
					stdin=subprocess.DEVNULL,
					preexec_fn=own_death_signal))
			if status != NO_SERVER:
				break
		return status

	@staticmethod
	def wait_for(server):
		try:
			return server.wait(RUN_S)
		except BaseException as reason:
			server.terminate()
			server.wait()
			if isinstance(reason, subprocess.TimeoutExpired):
				return server.returncode
			raise

	def close(self):
		shutil.rmtree(self.directory, ignore_errors=True)


def least(runs, what):
	"""The smallest figure of that name; None if no run has it."""
	return min((run[what] for run in runs if what in run), default=None)


class Case:
	"""An application, its runs and what they say."""

	def __init__(self, theatre, application, rounds):
		self.theatre, self.application = theatre, application
		self.rounds = rounds or application.rounds
		self.kept = os.path.join(theatre.kept, application.name)
		shutil.rmtree(self.kept, ignore_errors=True)
		os.makedirs(self.kept)
		self.template = None
		self.bare, self.wrapped, self.faults = [], [], []

	def fill(self, word, home):
		return (word.replace("{home}", home)
			.replace("{files}", f"{self.theatre.programs}/files")
			.replace("{clients}", self.theatre.clients))

	def prepare(self):
		"""Make the home that all runs begin with."""
		if not self.application.prepare:
			return
		home = self.theatre.own_directory(
			f"{self.application.name}.template")
		environment = {"HOME": home, "TMPDIR": home,
			**self.application.environment}
		output = os.path.join(self.kept, "prepare.output")
		words = [f"{name}={value}" for name, value
			in environment.items()]
		if self.theatre.on_server("--xvfb",
				["env", "-u", "XDG_RUNTIME_DIR", *words,
					*self.application.prepare], output):
			self.faults.append("its preparation failed")
		self.template = home

	def plan(self, directory, wrapper):
		home = f"{directory}/home"
		application = self.application
		return {"directory": directory, "template": self.template,
			"command": wrapper + [self.fill(word, home)
				for word in application.command],
			"environment": {name: self.fill(value, home) for
				name, value in application.environment.items()},
			"window": application.window,
			"moves": application.moves, "close": application.close}

	def host(self, name, wrapper):
		"""The command of the relay's other end, if there is a relay."""
		if not wrapper or not self.application.relay:
			return None
		return [self.theatre.fenceferry, "host",
			f"--listen={self.relay_of(name)}"]

	def play(self, name, wrapper):
		"""One run. Its result, and its files kept under the name."""
		directory = self.theatre.own_directory(
			f"{self.application.name}.{name}")
		plan = os.path.join(directory, "plan")
		with open(plan, "w") as file:
			json.dump({**self.plan(directory, wrapper),
				"host": self.host(name, wrapper)}, file)
		os.chmod(plan, 0o644)
		output = os.path.join(self.kept, f"{name}.stage")
		status = self.theatre.on_server(
			f"--{self.application.server}", [sys.executable, "-B",
			f"{self.theatre.programs}/stage.py", plan], output)
		for file in ("picture.png", "output", "log", "result"):
			if os.path.exists(f"{directory}/{file}"):
				shutil.copyfile(f"{directory}/{file}",
					f"{self.kept}/{name}.{file}")
		shutil.rmtree(directory, ignore_errors=True)
		try:
			with open(f"{self.kept}/{name}.result") as file:
				result = json.load(file)
		except (FileNotFoundError, json.JSONDecodeError):
			result = {"trouble": f"the stage ended with {status}"}
		if not result["trouble"] and status:
			result["trouble"] = f"the X server ended with {status}"
		return result

	def play_all(self):
		self.prepare()
		for number in range(1, self.rounds + 1):
			# By turns, for what one leaves in caches.
			turns = [self.play_bare, self.play_wrapped]
			if number % 2 == 0:
				turns.reverse()
			for turn in turns:
				if turn(number)["trouble"]:
					return

	def play_bare(self, number):
		self.bare.append(self.play(f"bare-{number}", []))
		return self.bare[-1]

	def play_wrapped(self, number):
		name = f"wrapped-{number}"
		self.wrapped.append(self.play(name, self.wrapper(name)))
		return self.wrapped[-1]

	def wrapper(self, name):
		words = [self.theatre.fenceferry, "run", "-vv",
			f"--log={self.file_of(name, 'log')}",
			*self.theatre.engine, *self.application.options]
		if self.application.relay:
			words += ["--isolate", f"--relay={self.relay_of(name)}"]
		return words + ["--"]

	def relay_of(self, name):
		return f"unix:{self.file_of(name, 'relay')}"

	def file_of(self, name, file):
		return os.path.join(self.theatre.directory,
			f"{self.application.name}.{name}", file)

	def picture(self, name):
		return Image.open(f"{self.kept}/{name}.picture.png")

	def judge_pictures(self):
		"""Returns how far a wrapped run is from a bare one at the
		most."""
		if self.application.window is None or self.faults:
			return None
		numbers = range(1, self.rounds + 1)
		bare = [self.picture(f"bare-{number}") for number in numbers]
		wrapped = [self.picture(f"wrapped-{number}")
			for number in numbers]
		own = max(screen.difference(bare[0], other) for other in bare)
		differs = max(screen.difference(one, other)
			for one in bare for other in wrapped)
		if own > self.application.tolerance:
			self.faults.append(
				"bare: it looks different from time to time")
		elif differs > self.application.tolerance:
			self.faults.append("wrapped: it looks different")
		return differs

	def judge_runs(self):
		faults = self.faults
		for kind, runs in (("bare", self.bare), ("wrapped", self.wrapped)):
			for run in runs:
				if run["trouble"]:
					faults.append(f"{kind}: {run['trouble']}")
				elif run["ended"] == "SIGKILL":
					faults.append(f"{kind}: it had to be killed")
				elif (self.application.sandbox
						and not run["sandboxed"]):
					faults.append(f"{kind}: it has no sandbox")
		ends = {(run.get("status"), run.get("ended"))
			for run in self.bare + self.wrapped}
		if len(ends) > 1 and not faults:
			faults.append("it ends in different ways: " + ", ".join(
				f"{status} ({how})" for status, how in sorted(ends)))

	def judge_logs(self, logs):
		for log in logs:
			counters = log.counters()
			if not counters:
				self.faults.append("wrapped: the log has no end")
			elif counters["failures"]:
				self.faults.append(
					f"wrapped: failures: {log.reasons()}")
			for request in self.application.must_cross:
				if request not in log.requests():
					self.faults.append(
						f"wrapped: no {request} crossed")

	def result(self):
		"""All there is to tell of it."""
		logs = [events.Events(f"{self.kept}/wrapped-{number}.log")
			for number in range(1, len(self.wrapped) + 1)]
		self.judge_runs()
		self.judge_logs(logs)
		differs = self.judge_pictures()
		result = {"differs": differs, "faults": sorted(set(self.faults)),
			**(logs[0].tell() if logs else {})}
		for kind, runs in (("bare", self.bare), ("wrapped", self.wrapped)):
			result[f"{kind}_s"] = least(runs, "drawn_s")
			result[f"{kind}_cpu_s"] = least(runs, "cpu_s")
			for name in ("status", "ended", "processes", "sandboxed",
					"filters", "shared", "left_behind"):
				result[f"{kind}_{name}"] = (
					runs[0].get(name) if runs else None)
		return result


def version_of(application):
	if not application.packages:
		return ""
	done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}",
		application.packages[0]], capture_output=True, text=True)
	return done.stdout


def tell(result):
	"""A line or more for who watches."""
	verdict = ("skipped" if result["skipped"] else
		"FAILED" if result["faults"] else "passed")
	print(f"{result['name']}: {verdict}: {table.summary(result)}")
	for fault in result["faults"]:
		print(f"    {fault}")
	for crossing, count in result.get("crossings", {}).items():
		print(f"    {count} x {crossing}")
	sys.stdout.flush()


def check(theatre, application, arguments):
	result = {"name": application.name, "title": application.title,
		"version": version_of(application), "skipped": None,
		"faults": [], "packages": application.packages,
		"binary": theatre.fingerprint()}
	if application.name in arguments.unavailable:
		result["skipped"] = "its packages cannot be installed"
	else:
		case = Case(theatre, application, arguments.rounds)
		case.play_all()
		result.update(case.result())
	tell(result)
	os.makedirs(f"{theatre.kept}/results", exist_ok=True)
	with open(f"{theatre.kept}/results/{application.name}.json", "w") as file:
		json.dump(result, file, indent=1)
	return result


def stop(*_):
	raise SystemExit(1)


def parse():
	parser = argparse.ArgumentParser()
	parser.add_argument("--packages", action="store_true")
	parser.add_argument("--build")
	parser.add_argument("--rounds", type=int)
	parser.add_argument("--engine")
	parser.add_argument("--table")
	parser.add_argument("--unavailable", action="append", default=[])
	parser.add_argument("names", nargs="*")
	arguments = parser.parse_args()
	known = [application.name for application in APPLICATIONS]
	for name in arguments.names:
		if name not in known:
			parser.error(f"{name}: unknown; there are: {' '.join(known)}")
	return arguments


def main():
	arguments = parse()
	chosen = [application for application in APPLICATIONS
		if not arguments.names or application.name in arguments.names]
	if arguments.packages:
		for application in chosen:
			print(application.name, *application.packages)
		return 0
	signal.signal(signal.SIGTERM, stop)
	kept = os.path.join(os.path.abspath(arguments.build), "check-apps")
	theatre = Theatre(os.path.abspath(arguments.build), kept,
		arguments.engine)
	try:
		began = time.monotonic()
		results = [check(theatre, application, arguments)
			for application in chosen]
		binary = theatre.fingerprint()
	finally:
		theatre.close()
	table.write(kept, binary,
		None if arguments.engine else arguments.table)
	failed = sum(bool(result["faults"]) for result in results)
	skipped = sum(bool(result["skipped"]) for result in results)
	print(f"in {time.monotonic() - began:.0f} s; pictures and logs are in "
		f"{kept}")
	print(f"{len(results) - failed - skipped} passed, {failed} failed, "
		f"{skipped} skipped")
	return int(failed != 0)


if __name__ == "__main__":
	sys.exit(main())
