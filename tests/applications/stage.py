# SPDX-License-Identifier: MIT
"""
One run of an application, on the X server of $DISPLAY: start it, wait until
it shows what it is to show, take a picture, close it.

Usage: stage.py PLAN, a file of JSON (see run.py). The result, JSON as well,
goes to "result" in the plan's directory; it has "trouble" if something was not
as it should.
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import processes
import screen

LOOK_S = 0.04
# So long a picture must stay the same to be the last one, and how much of it
# may go on changing: a cursor.
STILL_S = 1.5
RESTLESS = 0.0005
# On a busy machine a picture also stays when its painter waits for a processor:
# so many threads may want to run, on average, when there is no more to come.
QUIET = 0.5
# What must be on the screen at least, compared to the empty one.
SOMETHING = 0.002
# Deadlines.
WINDOW_S, DRAWN_S, CLOSE_S, TERM_S, LEFT_S = 240, 180, 40, 30, 20
# When interrupted, there is less time.
HASTE_S = 3


class Trouble(Exception):
	pass


class Interrupted(Exception):
	pass


class Run:
	def __init__(self, plan):
		self.plan = plan
		self.directory = plan["directory"]
		self.result = {"trouble": None}
		self.screen = screen.Screen()
		self.empty = screen.take()
		self.child = self.host = None

	def path(self, name):
		return os.path.join(self.directory, name)

	def environment(self):
		"""Directories of its own, and nothing of the user's session."""
		environment = {name: value for name, value in os.environ.items()
			if name in ("PATH", "DISPLAY", "XAUTHORITY")}
		for name, variable in (("home", "HOME"), ("tmp", "TMPDIR"),
				("runtime", "XDG_RUNTIME_DIR")):
			os.makedirs(self.path(name), mode=0o700, exist_ok=True)
			environment[variable] = self.path(name)
		environment.update(LANG="C.UTF-8", NO_AT_BRIDGE="1",
			LIBGL_ALWAYS_SOFTWARE="1", GTK_MODULES="")
		environment.update(self.plan["environment"])
		return environment

	def start(self):
		if self.plan["template"]:
			shutil.copytree(self.plan["template"], self.path("home"),
				symlinks=True)
		environment = self.environment()
		self.start_host(environment)
		with open(self.path("output"), "wb") as output:
			self.started = time.monotonic()
			self.child = subprocess.Popen(self.plan["command"],
				env=environment, cwd=self.path("home"), stdout=output,
				stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

	def start_host(self, environment):
		"""The relay's other end, which takes connections from when its
		socket is there."""
		if not self.plan["host"]:
			return
		with open(self.path("host-output"), "wb") as output:
			self.host = subprocess.Popen(self.plan["host"],
				env=environment, stdout=output, stderr=output,
				stdin=subprocess.DEVNULL)
		deadline = time.monotonic() + TERM_S
		while not os.path.exists(self.path("relay")):
			if self.host.poll() is not None or (
					time.monotonic() > deadline):
				raise Trouble("the relay does not start")
			time.sleep(LOOK_S)

	def stop_host(self):
		if not self.host:
			return
		self.host.terminate()
		if self.host.wait(TERM_S):
			raise Trouble(
				f"the relay ended with {self.host.returncode}")

	def since_start(self):
		return round(time.monotonic() - self.started, 3)

	def still_runs(self):
		if self.child.poll() is not None:
			raise Trouble(f"it ended early, with {self.child.returncode}")

	def await_window(self):
		"""Wait for the window, with something else than black in it."""
		while not self.screen.find(self.plan["window"]):
			self.still_runs()
			if self.since_start() > WINDOW_S:
				names = [name for _, name in self.screen.windows()]
				raise Trouble(f"no window; there are {names}")
			time.sleep(LOOK_S)
		self.result["window_s"] = self.since_start()

	def await_picture(self):
		"""Wait until something is seen, and no longer changes, unless
		change is in the application's nature."""
		last, changed = self.empty, 0
		deadline = self.since_start() + DRAWN_S
		self.watch_wishes()
		while True:
			now = screen.take()
			at = self.since_start()
			shown = screen.difference(self.empty, now) > SOMETHING
			if screen.difference(last, now) > RESTLESS:
				last, changed = now, at
				self.watch_wishes()
			if shown and (self.plan["moves"] or self.is_quiet()):
				break
			self.still_runs()
			if at > deadline:
				now.save(self.path("picture.png"))
				raise Trouble("nothing to see" if not shown
					else "the picture does not stay the same")
			time.sleep(LOOK_S)
		self.result["drawn_s"] = changed
		if self.plan["moves"]:
			self.await_frames()
			now = screen.take()
		now.save(self.path("picture.png"))

	def wishes(self):
		server = int(os.environ["FF_TEST_XSERVER_PID"])
		return processes.wishes(processes.below(os.getpid()) + [server])

	def watch_wishes(self):
		self.watched_s, self.watched = time.monotonic(), self.wishes()

	def is_quiet(self):
		"""Whether for some time nobody has wanted to run."""
		passed_s = time.monotonic() - self.watched_s
		if passed_s < STILL_S:
			return False
		wanted_ns = sum(max(0, wish - self.watched.get(tid, 0))
			for tid, wish in self.wishes().items())
		if wanted_ns < QUIET * passed_s * 1e9:
			return True
		self.watch_wishes()
		return False

	def await_frames(self):
		"""Wait for some different pictures, as proof of life."""
		last, frames = screen.take(), 0
		deadline = self.since_start() + DRAWN_S
		while frames < 5:
			time.sleep(LOOK_S)
			now = screen.take()
			frames += now.tobytes() != last.tobytes()
			last = now
			if self.since_start() > deadline:
				raise Trouble("it does not move")

	def look_at_processes(self):
		pids = processes.below(os.getpid())
		self.result.update(processes=len(pids),
			sandboxed=processes.sandboxed(pids),
			filters=processes.most_filters(pids),
			shared=processes.shared_memory(pids))

	def wait(self, seconds):
		try:
			self.child.wait(seconds)
			return True
		except subprocess.TimeoutExpired:
			return False

	def end(self):
		"""Close its windows; ask it to end; note what helped."""
		how = "by itself"
		if self.plan["close"] == "window":
			how = "window closed"
			deadline = time.monotonic() + CLOSE_S
			while time.monotonic() < deadline and not self.wait(1):
				self.screen.close(
					[window for window, _ in self.screen.windows()])
		if self.plan["close"] == "signal" or (
				self.plan["close"] == "window" and not self.wait(0)):
			how = "SIGTERM"
			self.child.send_signal(signal.SIGTERM)
		if not self.wait(TERM_S if self.plan["close"] != "itself"
				else WINDOW_S):
			how = "SIGKILL"
			self.child.kill()
			self.child.wait()
		self.result.update(ended=how, status=self.child.returncode)

	def count_processor_time(self):
		"""Of all processes, when they have ended."""
		usage = resource.getrusage(resource.RUSAGE_CHILDREN)
		self.result["cpu_s"] = round(usage.ru_utime + usage.ru_stime, 3)

	def stop(self, seconds):
		"""After trouble."""
		for process in (self.child, self.host):
			if process and process.poll() is None:
				process.terminate()
		if self.child:
			self.wait(seconds)

	def play(self):
		self.start()
		if self.plan["window"] is not None:
			self.await_window()
			self.await_picture()
			self.look_at_processes()
		self.end()
		self.stop_host()


def stop(*_):
	signal.signal(signal.SIGTERM, signal.SIG_IGN)
	raise Interrupted


def main():
	processes.prctl(processes.PR_SET_CHILD_SUBREAPER, 1)
	signal.signal(signal.SIGTERM, stop)
	with open(sys.argv[1]) as file:
		plan = json.load(file)
	run = Run(plan)
	grace_s = LEFT_S
	try:
		run.play()
	except Trouble as trouble:
		run.result["trouble"] = str(trouble)
		run.stop(TERM_S)
	except Interrupted:
		grace_s = HASTE_S
		run.stop(HASTE_S)
		run.result["trouble"] = "interrupted"
	run.result["left_behind"] = processes.end_all(grace_s)
	run.count_processor_time()
	with open(run.path("result"), "w") as file:
		json.dump(run.result, file)


if __name__ == "__main__":
	main()
