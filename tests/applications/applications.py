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
	# More options of fenceferry's.
	options: list = field(default_factory=list)
	# It must have processes in namespaces of their own: a sandbox.
	sandbox: bool = False
	# Requests by which fds must cross; without them nothing here would have
	# been tried.
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

FIREFOX_ACCELERATED = """\
user_pref("gfx.webrender.all", true);
user_pref("gfx.webrender.software", false);
user_pref("gfx.x11-egl.force-enabled", true);
user_pref("layers.acceleration.force-enabled", true);
"""

FIREFOX = ["firefox-esr", "--no-remote", "--new-instance", "--profile",
	"{home}/profile"]

CHROMIUM = ["chromium", "--no-first-run", "--no-default-browser-check",
	"--password-store=basic", "--disable-component-update",
	# It would end what is merely slow.
	"--disable-gpu-watchdog", "--use-gl=angle",
	"--user-data-dir={home}/profile"]

LAVAPIPE = {"VK_ICD_FILENAMES":
	"/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"}


def firefox_profile(settings):
	"""The command that makes one."""
	return ["sh", "-c", "mkdir \"$HOME/profile\" && "
		f"printf %s '{settings}' >\"$HOME/profile/user.js\""]


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
		environment={"MESA_LOADER_DRIVER_OVERRIDE": "zink"},
		must_cross=["DRI3.FenceFromFD"]),
	Application("vkcube", "vkcube, lavapipe",
		["vulkan-tools", "mesa-vulkan-drivers"],
		["vkcube", "--gpu_number", "0"], window="",
		moves=True, tolerance=0.2, close="signal",
		environment=LAVAPIPE, must_cross=["DRI3.FenceFromFD"]),
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
		FIREFOX + ["file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2,
		prepare=firefox_profile(FIREFOX_SETTINGS)),
	# The two that draw by Vulkan: their windows get pictures with fences.
	Application("firefox-zink", "Firefox, the same, Zink on lavapipe",
		["firefox-esr", "libgl1-mesa-dri", "mesa-vulkan-drivers"],
		FIREFOX + ["file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2,
		environment={"MESA_LOADER_DRIVER_OVERRIDE": "zink", **LAVAPIPE},
		prepare=firefox_profile(
			FIREFOX_SETTINGS + FIREFOX_ACCELERATED),
		must_cross=["DRI3.FenceFromFD"]),
	Application("chromium", "Chromium, the same page",
		["chromium", "chromium-sandbox"],
		CHROMIUM + ["--use-angle=swiftshader",
			"--enable-unsafe-swiftshader",
			"file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2),
	Application("chromium-vulkan", "Chromium, the same, Vulkan on lavapipe",
		["chromium", "chromium-sandbox", "mesa-vulkan-drivers"],
		CHROMIUM + ["--use-angle=vulkan", "--ignore-gpu-blocklist",
			"--enable-gpu-rasterization", "--enable-features="
			"Vulkan,DefaultANGLEVulkan,VulkanFromANGLE",
			"file://{files}/page.html"],
		window="^drawn", sandbox=True, rounds=2, environment=LAVAPIPE,
		must_cross=["DRI3.FenceFromFD"]),
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


def observed(name, must_cross):
	"""The application again, only watched, with all that there is to see."""
	application = next(application for application in APPLICATIONS
		if application.name == name)
	return replace(application, name=f"{name}-observed",
		options=["--engine=off", "--backtrace", "--replies"],
		must_cross=must_cross,
		title=application.title.replace("the same",
			"a page with canvas and WebGL"))


APPLICATIONS += [observed("zink", ["DRI3.FenceFromFD"]),
	observed("qt5", ["MIT-SHM.CreateSegment"]),
	observed("firefox-zink", ["DRI3.FenceFromFD"])]
