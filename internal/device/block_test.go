package device

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// attachBlock attaches path as the only device.
func attachBlock(t *testing.T, path string) (*Set, error) {
	t.Helper()
	return Attach(manifest(Declared{"disk", image.Block}), options(t, "block", "disk="+path))
}

func TestBlockDevice(t *testing.T) {
	path := loop(t, disk(t, 1<<20))
	check := unchanged(t)
	s, err := attachBlock(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if d := s.Devices[0]; d.Capacity != 1<<20 || d.BlockSize != 512 || d.Kind != Disk {
		t.Errorf("%+v", d)
	}
	p, err := s.Devices[0].Private()
	if err != nil {
		t.Fatal(err)
	}
	sector := make([]byte, 512)
	if n, err := unix.Pread(p.FD, sector, 1<<20-512); n != 512 || err != nil {
		t.Errorf("last sector: %d bytes, %v", n, err)
	}
	p.Close()
	s.Close()
	check()
}

// loop puts a loop device over the file at path.
func loop(t *testing.T, path string) string {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testhost.Skip(t, "no loop devices: "+err.Error())
	}
	defer unix.Close(control)
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		testhost.Skip(t, "no free loop device: "+err.Error())
	}
	name := "/dev/loop" + itoa(n)
	dev, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testhost.Skip(t, "no loop device: "+err.Error())
	}
	defer unix.Close(dev)
	file, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(file)
	// Autoclear frees the device when the last descriptor is closed.
	config := unix.LoopConfig{Fd: uint32(file), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	if err := unix.IoctlLoopConfigure(dev, &config); err != nil {
		testhost.Skip(t, "cannot configure "+name+": "+err.Error())
	}
	// One descriptor keeps the device until the test is over.
	hold, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	kept(t, hold, err)
	return name
}

// Errors of open say what to do, and name the path on one line.
func TestBlockErrors(t *testing.T) {
	for _, test := range []struct{ path, want string }{
		{"/dev/null/x", "not a directory"},
		{"/nonexistent\n/x", `"/nonexistent\n/x"`},
	} {
		check := unchanged(t)
		_, err := attachBlock(t, test.path)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: error %v, want one with %q", test.path, err, test.want)
			continue
		}
		check()
		checkLine(t, err)
	}
}

// A guest must not write into a running program, this one say.
func TestBlockRunningProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Access(exe, unix.W_OK); err != nil {
		testhost.Skip(t, exe+": "+err.Error())
	}
	_, err = attachBlock(t, exe)
	if err == nil || !strings.Contains(err.Error(), "text file busy; a program that is running") {
		t.Errorf("error %v", err)
	}
}

func TestBlockReadOnlyFile(t *testing.T) {
	path := disk(t, 4096)
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	testhost.Unprivileged(t, func() {
		_, err := attachBlock(t, path)
		if err == nil || !strings.Contains(err.Error(), "permission denied; a block device needs permission to read and to write") {
			t.Errorf("error %v", err)
		}
	})
}

func TestBlockReadOnlyFilesystem(t *testing.T) {
	dir := t.TempDir()
	testhost.Tmpfs(t, dir)
	if err := os.WriteFile(dir+"/disk", make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := attachBlock(t, dir+"/disk")
	if err == nil || !strings.Contains(err.Error(), "read-only file system; a block device is opened for reading and writing") {
		t.Errorf("error %v", err)
	}
}
