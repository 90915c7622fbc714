// Command files is a unikernel that uses files: those that it takes along in
// /srv, and some that it makes. It says what went wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"
)

func main() {
	for name, test := range map[string]func() error{
		"taken": taken, "made": made, "removed": removed, "full": full, "shared": shared, "host": host, "processes": processes, "protection": protection,
	} {
		if err := test(); err != nil {
			fmt.Printf("files: %s: %v\n", name, err)
		}
	}
	fmt.Println("files: done")
}

// shared maps a file twice, through which it is read and written, and has it grow.
func shared() error {
	f, err := os.CreateTemp("", "shared")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		return err
	}
	w, err := syscall.Mmap(int(f.Fd()), 0, 8192, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	r, err := syscall.Mmap(int(f.Fd()), 4096, 1<<20, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap of what is not there yet: %w", err)
	}
	copy(w[5000:], "by a mapping")
	if _, err := f.WriteAt([]byte("by a call"), 500<<10); err != nil {
		return err
	}
	b := make([]byte, 12)
	if _, err := f.ReadAt(b, 5000); err != nil || string(b) != "by a mapping" {
		return fmt.Errorf("read %q, %v", b, err)
	}
	if got := string(r[5000-4096:][:12]) + ", " + string(r[500<<10-4096:][:9]); got != "by a mapping, by a call" {
		return fmt.Errorf("mapped: %q", got)
	}
	if _, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC, syscall.MAP_SHARED); err != syscall.EACCES {
		return fmt.Errorf("mmap to execute: %v", err)
	}
	return errors.Join(syscall.Munmap(w), syscall.Munmap(r))
}

// taken looks at the tree that the image has.
func taken() error {
	b, err := os.ReadFile("/srv/doc.go")
	if err != nil || !strings.Contains(string(b), "package goguests") {
		return fmt.Errorf("%.50q, %v", b, err)
	}
	var names []string
	err = filepath.WalkDir("/srv", func(path string, d fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil || !slices.Contains(names, "/srv/files/main.go") {
		return fmt.Errorf("%q, %v", names, err)
	}
	if err := fstest.TestFS(os.DirFS("/srv"), "doc.go", "files/main.go"); err != nil {
		return err
	}
	if err := os.WriteFile("/srv/doc.go", nil, 0o644); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("write: %v", err)
	}
	if err := os.Remove("/srv/doc.go"); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("remove: %v", err)
	}
	if err := os.Mkdir("/srv/new", 0o755); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("mkdir: %v", err)
	}
	root, err := fs.ReadDir(os.DirFS("/"), ".")
	if err != nil || len(root) < 4 {
		return fmt.Errorf("the root: %v, %v", root, err)
	}
	return nil
}

// made makes files.
func made() error {
	dir, err := os.MkdirTemp("", "x")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, "sub", "file")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	text := strings.Repeat("0123456789", 10000)
	if _, err := io.WriteString(f, text); err != nil {
		return err
	}
	if _, err := f.Seek(5, io.SeekStart); err != nil {
		return err
	}
	rest, err := io.ReadAll(f)
	if err != nil || string(rest) != text[5:] {
		return fmt.Errorf("%d bytes, %v", len(rest), err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	f.Close()
	if err := os.Symlink("file", filepath.Join(dir, "sub", "link")); err != nil {
		return err
	}
	if err := os.Rename(name, name+"2"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "sub", "link")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("a link to nothing: %v", err)
	}
	for i := range 1000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
			return err
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1001 {
		return fmt.Errorf("%d entries, %v", len(entries), err)
	}
	if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS("/srv")); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// removed has a file open that has no name any more.
func removed() error {
	f, err := os.CreateTemp("", "y")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	f.WriteString("still here")
	b := make([]byte, 10)
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "still here" {
		return fmt.Errorf("%q, %v", b, err)
	}
	return f.Close()
}

// full fills the file system, and has room again afterwards.
func full() error {
	for range 3 {
		f, err := os.Create("/tmp/big")
		if err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for n := 0; err == nil && n < 1<<14; n++ {
			_, err = f.Write(block)
		}
		f.Close()
		os.Remove("/tmp/big")
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("a big file: %v", err)
		}
	}
	return nil
}

// host asks about the host that there is none of.
func host() error {
	for what, get := range map[string]func() (string, error){
		"/":          os.Getwd,
		"/unikernel": os.Executable,
		"solo5":      os.Hostname,
		"/root":      os.UserHomeDir,
		"/tmp":       func() (string, error) { return os.TempDir(), nil },
		"root": func() (string, error) {
			u, err := user.Current()
			if err != nil {
				return "", err
			}
			return u.Username, nil
		},
	} {
		if got, err := get(); got != what || err != nil {
			return fmt.Errorf("%q, %v, expected %q", got, err, what)
		}
	}
	if err := os.Chdir("/srv/files"); err != nil {
		return err
	}
	if _, err := os.Stat("main.go"); err != nil {
		return err
	}
	if wd, err := os.Getwd(); wd != "/srv/files" {
		return fmt.Errorf("%q, %v", wd, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	var usage syscall.Rusage
	var info syscall.Sysinfo_t
	if err := errors.Join(syscall.Getrusage(0, &usage), syscall.Sysinfo(&info)); err != nil {
		return err
	}
	if info.Totalram == 0 || info.Freeram >= info.Totalram || info.Unit != 1 {
		return fmt.Errorf("%+v", info)
	}
	st, err := os.Stdin.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 && st.Mode()&os.ModeNamedPipe == 0 {
		return fmt.Errorf("standard input: %v, %v", st, err)
	}
	return nil
}

// processes tries to start one.
func processes() error {
	if err := exec.Command("/unikernel").Run(); !errors.Is(err, syscall.ENOSYS) {
		return fmt.Errorf("%v, expected ENOSYS", err)
	}
	return nil
}

// protection asks for memory that is executable.
func protection() error {
	_, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != syscall.EACCES {
		return fmt.Errorf("mmap: %v", err)
	}
	b, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return err
	}
	if err := syscall.Mprotect(b, syscall.PROT_READ|syscall.PROT_EXEC); err != syscall.EACCES {
		return fmt.Errorf("mprotect: %v", err)
	}
	return nil
}
