package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// text writes s.
func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

// leftOver fails if a temporary file is left in a directory.
func leftOver(t *testing.T, dir string) {
	t.Helper()
	if found, err := filepath.Glob(dir + "/.gocat-*"); err != nil || len(found) != 0 {
		t.Errorf("left over: %q, %v", found, err)
	}
}

func wantFile(t *testing.T, path, want string, mode os.FileMode) {
	t.Helper()
	b, err := os.ReadFile(path)
	info, statErr := os.Lstat(path)
	if err != nil || statErr != nil {
		t.Fatal(err, statErr)
	}
	if string(b) != want || info.Mode() != mode {
		t.Errorf("%s has %q and mode %v, want %q and %v", path, b, info.Mode(), want, mode)
	}
	leftOver(t, filepath.Dir(path))
}

// TestModes has new and older files under umasks.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for _, test := range []struct {
		older            os.FileMode // 0: none
		umask, mode, got os.FileMode
	}{
		{0, 0o022, 0o755, 0o755}, {0, 0o077, 0o755, 0o700}, {0, 0o027, 0o644, 0o640}, {0, 0, 0o755, 0o755},
		{0o600, 0o022, 0o755, 0o700}, {0o644, 0o022, 0o755, 0o755}, {0o640, 0, 0o755, 0o750}, {0o600, 0, 0o644, 0o600},
		{0o666, 0o022, 0o644, 0o666}, {0o755, 0o022, 0o644, 0o755}, {0o700, 0, 0o755, 0o700}, {0o400, 0, 0o700, 0o500},
		{0o755, 0o022, 0o700, 0o700}, {0o644, 0o022, 0o600, 0o600},
	} {
		path := filepath.Join(t.TempDir(), "out")
		syscall.Umask(0)
		if test.older != 0 {
			if err := errors.Join(os.WriteFile(path, []byte("older"), 0o600), os.Chmod(path, test.older)); err != nil {
				t.Fatal(err)
			}
		}
		syscall.Umask(int(test.umask))
		if err := Write(path, test.mode, nil, text("new")); err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		wantFile(t, path, "new", test.got)
	}
}

// TestLinks has links of one's own: they stay, and what they lead to is replaced.
func TestLinks(t *testing.T) {
	for name, links := range map[string][][2]string{
		"none":           {},
		"one":            {{"out", "real"}},
		"two":            {{"out", "other"}, {"other", "real"}},
		"into directory": {{"out", "d/x"}, {"d/x", "../real"}},
		"directory":      {{"l", "d"}, {"out", "l/../real"}},
	} {
		for _, there := range []bool{true, false} {
			dir := t.TempDir()
			os.Mkdir(dir+"/d", 0o755)
			for _, l := range links {
				if err := os.Symlink(l[1], dir+"/"+l[0]); err != nil {
					t.Fatal(err)
				}
			}
			real := dir + "/real"
			if len(links) == 0 {
				real = dir + "/out"
			}
			var inode uint64
			if there {
				if err := os.WriteFile(real, []byte("older"), 0o644); err != nil {
					t.Fatal(err)
				}
				inode = inodeOf(t, real)
			}
			if err := Check(dir + "/out"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			fail := errors.New("no")
			if err := Write(dir+"/out", 0o644, nil, func(w io.Writer) error { io.WriteString(w, "half"); return fail }); !errors.Is(err, fail) {
				t.Errorf("%s: %v", name, err)
			}
			if b, err := os.ReadFile(real); there != (err == nil) || there && string(b) != "older" {
				t.Errorf("%s, %v: after a failure %q, %v", name, there, b, err)
			}
			if err := Write(dir+"/out", 0o644, nil, text("new")); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			wantFile(t, real, "new", 0o644)
			if inodeOf(t, real) == inode {
				t.Errorf("%s: written in place", name)
			}
			for _, l := range links {
				if to, err := os.Readlink(dir + "/" + l[0]); err != nil || to != l[1] {
					t.Errorf("%s: link %s leads to %q, %v", name, l[0], to, err)
				}
			}
		}
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestOthersLinks has a sticky directory in which another user has left links and
// files: where the kernel is told to protect them, nothing is written.
func TestOthersLinks(t *testing.T) {
	testhost.NeedRoot(t, "to be two users")
	for _, sysctl := range []string{"protected_symlinks", "protected_fifos", "protected_regular"} {
		path := "/proc/sys/fs/" + sysctl
		b, err := os.ReadFile(path)
		if err == nil && string(b) == "0\n" { // few hosts are without
			err = os.WriteFile(path, []byte("1"), 0)
			t.Cleanup(func() { os.WriteFile(path, b, 0) })
		}
		if err != nil {
			testhost.Skip(t, "fs."+sysctl+" is not on: "+err.Error())
		}
	}
	base := t.TempDir()
	secret := base + "/secret"
	tmp := base + "/tmp"
	if err := errors.Join(os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(tmp, 0o755), unix.Chmod(tmp, 0o1777)); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(string) error{
		"link to a file":  func(p string) error { return os.Symlink(secret, p) },
		"link to nothing": func(p string) error { return os.Symlink(base+"/none", p) },
		"link to a link": func(p string) error {
			os.Symlink(secret, p+"2")
			return errors.Join(os.Lchown(p+"2", 65534, 65534), os.Symlink(p+"2", p))
		},
		"link to a FIFO":   func(p string) error { unix.Mkfifo(base+"/fifo", 0o600); return os.Symlink(base+"/fifo", p) },
		"link to a device": func(p string) error { return os.Symlink("/dev/null", p) },
		"link, directory":  func(p string) error { return os.Symlink(base, p) },
		"FIFO":             func(p string) error { return unix.Mkfifo(p, 0o666) },
	} {
		path := tmp + "/" + strings.ReplaceAll(name, " ", "-")
		if err := errors.Join(make(path), os.Lchown(path, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		for what, do := range map[string]func() error{
			"Write":  func() error { return Write(path, 0o755, nil, text("new")) },
			"Stream": func() error { _, err := Stream(path); return err },
		} {
			err := do()
			if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "another user's") {
				t.Errorf("%s, %s: %v", what, name, err)
			}
		}
	}
	wantFile(t, secret, "secret", 0o600)
	if _, err := os.Lstat(base + "/none"); err == nil {
		t.Error("a file was made behind another user's link")
	}
	// Another user's file is not opened, and is replaced by one of one's own.
	path := tmp + "/file"
	if err := errors.Join(os.WriteFile(path, nil, 0o666), os.Lchown(path, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	older, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	if _, err := Stream(path); !errors.Is(err, unix.EACCES) {
		t.Errorf("Stream: %v", err)
	}
	if err := Write(path, 0o644, nil, text("new")); err != nil {
		t.Fatal(err)
	}
	if testhost.Contents(t, older) != "" {
		t.Error("another user's file was written")
	}
}

// TestSpecial has what is written as it is.
func TestSpecial(t *testing.T) {
	dir := t.TempDir()
	fifo := dir + "/fifo"
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(fifo); err != nil { // does not wait for a reader
		t.Error(err)
	}
	got := make(chan string)
	go func() {
		b, _ := os.ReadFile(fifo)
		got <- string(b)
	}()
	if err := Write(fifo, 0o644, nil, text("through")); err != nil {
		t.Error(err)
	}
	if s := <-got; s != "through" {
		t.Errorf("the FIFO gave %q", s)
	}
	if err := Write("/dev/null", 0o644, nil, text("away")); err != nil {
		t.Error(err)
	}
	if err := Write("/dev/full", 0o644, nil, text("away")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("/dev/full: %v", err)
	}
	// A descriptor of a file, by name.
	f, err := os.Create(dir + "/file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString("something longer")
	if err := Write(fmt.Sprint("/dev/fd/", f.Fd()), 0o644, nil, text("short")); err != nil {
		t.Error(err)
	}
	if s := testhost.Contents(t, f); s != "short" {
		t.Errorf("the file has %q", s)
	}
	for _, path := range []string{"", dir, dir + "/", dir + "/file/", dir + "/none/x", dir + "/file/x", strings.Repeat("x", 300)} {
		if err := Write(path, 0o644, nil, text("")); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", path, err)
		}
		if err := Check(path); err == nil {
			t.Errorf("Check %q: no error", path)
		}
	}
	leftOver(t, dir)
}

// TestStandardOutput writes to standard output by its other names: what it has
// stays.
func TestStandardOutput(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdout, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stdout)
	if err := unix.Dup3(int(f.Fd()), 1, 0); err != nil {
		t.Fatal(err)
	}
	_, err = unix.Write(1, []byte("before, "))
	for _, path := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", f.Name()} {
		err = errors.Join(err, Check(path), Write(path, 0o644, nil, text(path+", ")))
	}
	s, streamErr := Stream("/dev/stdout")
	if streamErr == nil {
		s.WriteString("after")
	}
	unix.Dup3(stdout, 1, 0)
	want := "before, /dev/stdout, /dev/fd/1, /proc/self/fd/1, " + f.Name() + ", after"
	if got := testhost.Contents(t, f); got != want || err != nil || streamErr != nil {
		t.Errorf("%q, %v, %v; want %q", got, err, streamErr, want)
	}
}

// TestInterrupted has a signal before the file is complete.
func TestInterrupted(t *testing.T) {
	path := t.TempDir() + "/out"
	signals := make(chan os.Signal, 1)
	never := make(chan struct{})
	defer close(never)
	err := Write(path, 0o644, signals, func(io.Writer) error {
		signals <- unix.SIGTERM
		<-never
		return nil
	})
	if i, ok := errors.AsType[*Interrupted](err); !ok || i.Signal != unix.SIGTERM {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the file is there")
	}
	leftOver(t, filepath.Dir(path))
}
