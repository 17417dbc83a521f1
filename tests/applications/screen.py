# SPDX-License-Identifier: MIT
"""What is on an X server's screen."""
import re

import Xlib.display
import Xlib.error
import Xlib.X
import Xlib.xauth
from PIL import ImageChops, ImageGrab
from Xlib.protocol import event

# A channel of a pixel, of 255, may be off by this much and be the same.
SHADE = 24
# Smaller windows are for selections and the like.
SMALLEST = 40


def only_entry(authority, *_):
	"""The X server's authority file has one entry, which fits all displays;
	Xlib's own search knows no such thing."""
	return authority.entries[0][3:5]


Xlib.xauth.Xauthority.get_best_auth = only_entry


class Screen:
	"""The screen of $DISPLAY."""

	def __init__(self):
		self.display = Xlib.display.Display()
		# Windows go while they are asked about.
		self.display.set_error_handler(lambda *_: None)
		self.root = self.display.screen().root

	def name_of(self, window):
		"""The window's title, or an empty string."""
		for atom in ("_NET_WM_NAME", "WM_NAME"):
			value = window.get_full_property(
				self.display.get_atom(atom), Xlib.X.AnyPropertyType)
			if value and value.value:
				text = value.value
				if isinstance(text, bytes):
					text = text.decode(errors="replace")
				return text
		return ""

	def windows(self):
		"""(window, title) of what an application shows: there is no window
		manager, so these are the root's children."""
		found = []
		for window in self.root.query_tree().children:
			try:
				attributes = window.get_attributes()
				geometry = window.get_geometry()
				name = self.name_of(window)
			except Xlib.error.XError:
				continue
			side = min(geometry.width, geometry.height)
			if (attributes.map_state == Xlib.X.IsViewable
					and attributes.win_class == Xlib.X.InputOutput
					and side >= SMALLEST):
				found.append((window, name))
		return found

	def find(self, pattern):
		"""The windows whose titles have a match of the pattern."""
		return [window for window, name in self.windows()
			if re.search(pattern, name)]

	def close(self, windows):
		"""Ask for the windows to be closed, as a window manager does."""
		protocols = self.display.get_atom("WM_PROTOCOLS")
		delete = self.display.get_atom("WM_DELETE_WINDOW")
		data = (32, [delete, Xlib.X.CurrentTime, 0, 0, 0])
		for window in windows:
			try:
				if delete not in (window.get_wm_protocols() or ()):
					continue
				window.send_event(event.ClientMessage(window=window,
					client_type=protocols, data=data))
			except Xlib.error.XError:
				continue
		self.display.flush()


def take():
	"""A picture of the whole screen."""
	return ImageGrab.grab().convert("RGB")


def difference(one, other):
	"""The share of pixels in which two pictures differ visibly."""
	if one.size != other.size:
		return 1.0
	bands = ImageChops.difference(one, other).split()
	worst = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
	return sum(worst.histogram()[SHADE + 1:]) / (one.size[0] * one.size[1])
