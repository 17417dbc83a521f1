/* SPDX-License-Identifier: MIT */
/*
 * An Xorg module that gives the dummy driver DRI3 with shared-memory fences, so
 * that DRI3 FenceFromFD works on a machine without a GPU. DRI3's buffers stay
 * refused: only the fences are real. But if $FF_TEST_DRI3_DEVICE names a file,
 * that is what DRI3 Open opens, and pixmaps give fds, of memory that has nothing
 * in it.
 *
 * A screen can be taught DRI3 only between the driver's ScreenInit and the
 * initialisation of the extensions. This module therefore poses as one more
 * video driver that never finds a device: its Probe comes after dummy's and
 * wraps the ScreenInit of every screen dummy has claimed. An extension module
 * would be initialised after DRI3, which is too late.
 */
#include <xorg-server.h>

/* The server's headers are not clean under the warnings used here. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wunused-parameter"
/* Before dri3.h, which leaves the protocol's types to others. */
#include <xf86.h>

#include <dri3.h>
#include <misyncshm.h>
#include <xf86Module.h>
#pragma GCC diagnostic pop

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FENCES_VERSION 1

/* xf86.h declares xf86Screens, but not how many there are. */
extern _X_EXPORT int xf86NumScreens;

static xf86ScreenInitProc *dummy_screen_init;

static const char *device_name(void)
{
	return getenv("FF_TEST_DRI3_DEVICE");
}

/* DRI3 Open. BadMatch is what a client takes for "no GPU". */
static int open_device(ScreenPtr screen, RRProviderPtr provider, int *fd)
{
	const char *name = device_name();

	(void)screen;
	(void)provider;
	if (!name)
		return BadMatch;
	*fd = open(name, O_RDWR | O_CLOEXEC);
	return *fd < 0 ? BadAlloc : Success;
}

static PixmapPtr pixmap_from_fd(ScreenPtr screen, int fd, CARD16 width,
	CARD16 height, CARD16 stride, CARD8 depth, CARD8 bpp)
{
	(void)screen;
	(void)fd;
	(void)width;
	(void)height;
	(void)stride;
	(void)depth;
	(void)bpp;
	return NULL;
}

/* Memory of a plane's size, if there is a device. */
static int make_plane(PixmapPtr pixmap, uint32_t *stride, uint32_t *size)
{
	int fd = device_name() ? memfd_create("plane", MFD_CLOEXEC) : -1;

	*stride = pixmap->drawable.width * 4u;
	*size = *stride * pixmap->drawable.height;
	if (fd >= 0 && !ftruncate(fd, *size))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int fd_from_pixmap(
	ScreenPtr screen, PixmapPtr pixmap, CARD16 *stride, CARD32 *size)
{
	uint32_t wide;
	int fd = make_plane(pixmap, &wide, size);

	(void)screen;
	*stride = (CARD16)wide;
	return fd;
}

/* Two planes where it is wide, one where it is not. */
static int fds_from_pixmap(ScreenPtr screen, PixmapPtr pixmap, int *fds,
	uint32_t *strides, uint32_t *offsets, uint64_t *modifier)
{
	int count = pixmap->drawable.width > 64 ? 2 : 1;
	uint32_t size;

	(void)screen;
	*modifier = 0;
	for (int i = 0; i < count; i++) {
		fds[i] = make_plane(pixmap, &strides[i], &size);
		offsets[i] = 0;
		if (fds[i] < 0)
			return 0;
	}
	return count;
}

static const dri3_screen_info_rec dri3_info_with_device = {
	.version = 2,
	.open = open_device,
	.pixmap_from_fd = pixmap_from_fd,
	.fd_from_pixmap = fd_from_pixmap,
	.fds_from_pixmap = fds_from_pixmap,
};

static const dri3_screen_info_rec dri3_info = {
	.version = 0,
	.open = open_device,
	.pixmap_from_fd = pixmap_from_fd,
	.fd_from_pixmap = fd_from_pixmap,
};

static Bool init_screen(ScreenPtr screen, int argc, char **argv)
{
	if (!dummy_screen_init(screen, argc, argv))
		return FALSE;
	if (!miSyncShmScreenInit(screen) ||
		!dri3_screen_init(screen, device_name() ?
			&dri3_info_with_device : &dri3_info)) {
		xf86DrvMsg(xf86ScreenToScrn(screen)->scrnIndex, X_ERROR,
			"fences: no shared-memory fences on this screen\n");
		return FALSE;
	}
	xf86DrvMsg(xf86ScreenToScrn(screen)->scrnIndex, X_INFO,
		"fences: DRI3 with shared-memory fences\n");
	return TRUE;
}

static void identify(int flags)
{
	(void)flags;
	xf86Msg(X_INFO, "fences: shared-memory fences for dummy screens\n");
}

/* Claim nothing, but keep the module: the server unloads an idle driver. */
static Bool probe(DriverPtr driver, int flags)
{
	int i;

	if (flags & PROBE_DETECT)
		return FALSE;
	for (i = 0; i < xf86NumScreens; i++) {
		if (xf86Screens[i]->ScreenInit == init_screen)
			continue;
		dummy_screen_init = xf86Screens[i]->ScreenInit;
		xf86Screens[i]->ScreenInit = init_screen;
		driver->refCount++;
	}
	return FALSE;
}

/* Without this the server would want a console, and root to open it. */
static Bool driver_func(ScrnInfoPtr screen, xorgDriverFuncOp op, void *data)
{
	(void)screen;
	if (op != GET_REQUIRED_HW_INTERFACES)
		return FALSE;
	*(xorgHWFlags *)data = HW_SKIP_CONSOLE;
	return TRUE;
}

static DriverRec fences_driver = {
	.driverVersion = FENCES_VERSION,
	.driverName = "fences",
	.Identify = identify,
	.Probe = probe,
	.driverFunc = driver_func,
};

/* dummy first: drivers are probed in the order in which they were added. */
static void *set_up(
	void *module, void *options, int *error_major, int *error_minor)
{
	static Bool done;

	(void)options;
	if (done) {
		*error_major = LDR_ONCEONLY;
		return NULL;
	}
	if (!LoadSubModule(module, "dummy", NULL, NULL, NULL, NULL, error_major,
		    error_minor))
		return NULL;
	done = TRUE;
	xf86AddDriver(&fences_driver, module, HaveDriverFuncs);
	return module;
}

static XF86ModuleVersionInfo version_info = {
	.modname = "fences",
	.vendor = "fenceferry",
	._modinfo1_ = MODINFOSTRING1,
	._modinfo2_ = MODINFOSTRING2,
	.xf86version = XORG_VERSION_CURRENT,
	.majorversion = FENCES_VERSION,
	.minorversion = 0,
	.patchlevel = 0,
	.abiclass = ABI_CLASS_VIDEODRV,
	.abiversion = ABI_VIDEODRV_VERSION,
	.moduleclass = MOD_CLASS_VIDEODRV,
};

extern _X_EXPORT XF86ModuleData fencesModuleData;
XF86ModuleData fencesModuleData = {
	.vers = &version_info,
	.setup = set_up,
};
