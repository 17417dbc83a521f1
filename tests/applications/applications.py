# SPDX-License-Identifier: MIT
"""The applications: how each is started, recognized and closed."""
from dataclasses import dataclass, field, replace


@dataclass
class Application:
	name: str
	# What the table calls it.
	title: str
	# Debian's packages; the first one's version is the application's.
	packages: list
	# In these words {files} is the directory files, {home} its own home.
	command: list
	# Matches the titles of its windows; None: it has no windows.
	window: str = None
	environment: dict = field(default_factory=dict)
	# Run once before, bare; the home that it leaves is what all runs get.
	prepare: list = None
	# The X server: "xorg", with fences, or "xvfb", without DRI3.
	server: str = "xorg"
	# It never shows the same for long.
	moves: bool = False
	# The share of pixels in which a wrapped run may differ from a bare one.
	tolerance: float = 0.02
	# How often it is run, bare and wrapped each; the shortest times count.
	rounds: int = 4
	# How it is ended: "window" (WM_DELETE_WINDOW), "signal" or "itself".
	close: str = "window"
	# Wrapped, it is in a futex domain of its own, which a relay connects with
	# the X server's.
	relay: bool = False
	# It must have processes in namespaces of their own: a sandbox.
	sandbox: bool = False
	# Kinds of crossings that must be there; one of the project's own
	# clients without them would mean that nothing here sees anything.
	must_cross: list = field(default_factory=list)


FIREFOX_SETTINGS = """\
user_pref("app.normandy.enabled", false);
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.tabs.warnOnClose", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.warnOnQuit", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("termsofuse.bypassNotification", true);
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
user_pref("trailhead.firstrun.didSeeAboutWelcome", true);
user_pref("webgl.force-enabled", true);
"""

PLAYER = ["mpv", "--no-config", "--keep-open=yes", "--no-osc",
	"--osd-level=0", "--ao=null", "--title=the clip",
	"--geometry=640x480+0+0"]

APPLICATIONS = [
	Application("fence-client", "fence-client (of our tests)", [],
		["{clients}/fence-client", "--rounds=1000"], close="itself",
		must_cross=["DRI3.FenceFromFD"]),
	Application("shm-client", "shm-client (of our tests)", [],
		["{clients}/shm-client"], close="itself",
		must_cross=["MIT-SHM.AttachFd"]),
	Application("glxgears", "glxgears, llvmpipe",
		["mesa-utils", "libgl1-mesa-dri"], ["glxgears"],
		window="^glxgears$", moves=True, tolerance=0.2, close="signal"),
	Application("zink", "glxgears, Zink on lavapipe",
		["libgl1-mesa-dri", "mesa-vulkan-drivers", "mesa-utils"],
		["glxgears"], window="^glxgears$", moves=True, tolerance=0.2,
		close="signal",
		environment={"MESA_LOADER_DRIVER_OVERRIDE": "zink"}),
	Application("vkcube", "vkcube, lavapipe",
		["vulkan-tools", "mesa-vulkan-drivers"],
		["vkcube", "--gpu_number", "0"], window="",
		moves=True, tolerance=0.2, close="signal",
		environment={"VK_ICD_FILENAMES":
			"/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"}),
	Application("gtk3", "gtk3-demo-application (GTK 3)",
		["gtk-3-examples"], ["gtk3-demo-application"],
		window="Application Class"),
	Application("mousepad", "Mousepad (GTK 3)", ["mousepad"],
		["mousepad", "{files}/page.html"], window="page.html"),
	Application("qt5", "qt5ct (Qt 5)", ["qt5ct"], ["qt5ct"],
		window="Qt5 Configuration Tool"),
	Application("featherpad", "FeatherPad (Qt 5)", ["featherpad"],
		["featherpad", "--standalone", "{files}/page.html"],
		window="page.html"),
	Application("firefox", "Firefox, a page with canvas and WebGL",
		["firefox-esr", "libgl1-mesa-dri"],
		["firefox-esr", "--no-remote", "--new-instance", "--profile",
			"{home}/profile", "file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2,
		prepare=["sh", "-c", "mkdir \"$HOME/profile\" && "
			f"printf %s '{FIREFOX_SETTINGS}' "
			">\"$HOME/profile/user.js\""]),
	Application("chromium", "Chromium, the same page",
		["chromium", "chromium-sandbox"],
		["chromium", "--no-first-run", "--no-default-browser-check",
			"--password-store=basic", "--disable-component-update",
			"--use-gl=angle", "--use-angle=swiftshader",
			"--enable-unsafe-swiftshader",
			"--user-data-dir={home}/profile",
			"file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2),
	Application("libreoffice", "LibreOffice Writer, a document",
		["libreoffice-writer", "libreoffice-gtk3"],
		["soffice", "--norestore", "--nologo", "--nofirststartwizard",
			"--writer", "{files}/document.fodt"],
		window="document.fodt", rounds=2),
	Application("gimp", "GIMP, a picture", ["gimp", "mpv"],
		["gimp", "--no-splash", "{home}/picture.png"],
		window="picture.*GIMP$", rounds=2,
		prepare=["sh", "-c",
			"mpv --really-quiet --no-config --frames=1 --vo=image "
			"--vo-image-format=png --vo-image-outdir=\"$HOME\" "
			"av://lavfi:testsrc=size=400x300 && "
			"mv \"$HOME/00000001.png\" \"$HOME/picture.png\""]),
	Application("swing", "a Java Swing program",
		["default-jdk-headless", "default-jre"],
		["java", "{files}/Swing.java"], window="^Swing$", rounds=2,
		environment={"JAVA_TOOL_OPTIONS": "-Duser.home={home}"}),
	Application("mpv-x11", "mpv, vo=x11", ["mpv"],
		PLAYER + ["--vo=x11", "av://lavfi:testsrc=duration=2"],
		window="the clip"),
	Application("mpv-gpu", "mpv, vo=gpu by llvmpipe",
		["mpv", "libgl1-mesa-dri"],
		PLAYER + ["--vo=gpu", "--gpu-context=x11egl",
			"av://lavfi:testsrc=duration=2"],
		window="the clip"),
	Application("wine", "Wine's notepad", ["wine", "wine64"],
		["wine", "notepad", "{files}/page.html"],
		window="page.html|Notepad", rounds=2,
		environment={"WINEDLLOVERRIDES": "mscoree,mshtml=",
			"WINEDEBUG": "-all"},
		prepare=["sh", "-c", "wineboot -i && wineserver -w && "
			"rm -rf \"$HOME\"/.wine-*"]),
	Application("weston", "Weston in a window",
		["weston"], ["weston", "--backend=x11-backend.so",
			"--use-pixman", "--no-config", "--idle-time=0",
			"--width=800", "--height=600"],
		window="Weston"),
	# wlroots gives up when DRI3 is there and opens no device.
	Application("cage", "Cage (wlroots) in a window, on Xvfb",
		["cage", "weston"], ["cage", "--", "weston-simple-shm"],
		window="", server="xvfb", moves=True, tolerance=0.2,
		close="signal",
		environment={"WLR_BACKENDS": "x11", "WLR_RENDERER": "pixman"}),
]


def through_relay(name):
	"""The application again, with a relay."""
	application = next(application for application in APPLICATIONS
		if application.name == name)
	return replace(application, name=f"{name}-relay", relay=True,
		title=f"{application.title}; isolated, with a relay")


APPLICATIONS += [through_relay(name) for name in
	("fence-client", "shm-client", "vkcube", "firefox", "chromium")]
