package gobuild

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Files is a directory of the host's that an image takes along.
type Files struct {
	Dir    string // on the host; or a file
	Prefix string // where the program finds it, absolute
	// Fixed says that the program must not change what is there.
	Fixed bool
}

// Bounds of what an image takes along.
const (
	maxTreeFiles = 60000     // of the library kernel's nodes
	maxTreeSize  = 512 << 20 // bytes
	maxFileName  = 255
)

// ParseFiles reads DIR[:/PREFIX]. Without a prefix the directory lies in the root
// by its own name.
func ParseFiles(s string) (Files, error) {
	f := Files{Dir: s, Fixed: true}
	if dir, prefix, found := strings.Cut(s, ":/"); found {
		f.Dir, f.Prefix = dir, "/"+prefix
	}
	info, err := os.Stat(f.Dir)
	if err != nil {
		return f, err
	}
	if !info.IsDir() {
		return f, fmt.Errorf("%s is not a directory", f.Dir)
	}
	if f.Prefix == "" {
		abs, err := filepath.Abs(f.Dir)
		if err != nil {
			return f, err
		}
		f.Prefix = "/" + filepath.Base(abs)
	}
	f.Prefix = path.Clean(f.Prefix)
	return f, nil
}

// tree is a tree of files as the library kernel reads it (guest/kernel, tree.go).
type tree struct {
	entries []treeEntry
	index   map[string]uint32 // by path: the entry, from 1
	size    int64
}

type treeEntry struct {
	parent, mode uint32
	fixed        bool
	name         string
	data         []byte
}

// Bits of struct stat's mode.
const (
	treeDir  = 0o040000
	treeFile = 0o100000
	treeLink = 0o120000
)

// pack returns a tree of files, in which the program begins in the directory
// work.
func pack(all []Files, work string) ([]byte, error) {
	t := &tree{index: map[string]uint32{"/": 0}}
	for _, f := range all {
		if err := t.add(f); err != nil {
			return nil, err
		}
	}
	at, ok := t.index[path.Clean("/"+work)]
	if !ok {
		return nil, fmt.Errorf("there is no directory %s among the files", work)
	}
	return t.encode(at), nil
}

func (t *tree) add(f Files) error {
	return filepath.WalkDir(f.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(f.Dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" && rel != "." {
			return fs.SkipDir
		}
		return t.put(name, path.Join(f.Prefix, filepath.ToSlash(rel)), d, f.Fixed)
	})
}

// put adds a file of the host's under a path of the guest's.
func (t *tree) put(name, to string, d fs.DirEntry, fixed bool) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	e := treeEntry{mode: uint32(info.Mode().Perm()), fixed: fixed}
	switch {
	case d.IsDir():
		e.mode |= treeDir
		if i, ok := t.index[to]; ok && (i == 0 || t.entries[i-1].mode&treeDir != 0) {
			return nil
		}
	case d.Type()&fs.ModeSymlink != 0:
		e.mode = treeLink | 0o777
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		e.data = []byte(target)
	case d.Type().IsRegular():
		e.mode |= treeFile
		if t.size += info.Size(); t.size > maxTreeSize {
			return fmt.Errorf("%s: the files are larger than %d MB, which is what an image takes", name, maxTreeSize>>20)
		}
		if e.data, err = os.ReadFile(name); err != nil {
			return err
		}
	default:
		return nil // sockets, pipes and devices are the host's
	}
	return t.insert(to, e)
}

// insert adds an entry, and the directories above it.
func (t *tree) insert(to string, e treeEntry) error {
	if _, ok := t.index[to]; ok {
		return fmt.Errorf("two files for %s", to)
	}
	dir, base := path.Split(to)
	dir = path.Clean(dir)
	if len(base) > maxFileName {
		return fmt.Errorf("%s: the name is longer than %d bytes", to, maxFileName)
	}
	parent, ok := t.index[dir]
	if !ok {
		if err := t.insert(dir, treeEntry{mode: treeDir | 0o755}); err != nil {
			return err
		}
		parent = t.index[dir]
	}
	if len(t.entries) == maxTreeFiles {
		return fmt.Errorf("%s: more than %d files, which is what an image takes", to, maxTreeFiles)
	}
	e.parent, e.name = parent, base
	t.entries = append(t.entries, e)
	t.index[to] = uint32(len(t.entries))
	return nil
}

// encode writes the header, the entries and what is in them.
func (t *tree) encode(work uint32) []byte {
	const header, fixedPart = 8, 32
	up := func(n int) int { return (n + 7) &^ 7 }
	offset := header
	for _, e := range t.entries {
		offset += fixedPart + up(len(e.name))
	}
	le := binary.LittleEndian
	b := le.AppendUint32(le.AppendUint32(nil, uint32(len(t.entries))), work)
	for _, e := range t.entries {
		fixed := uint32(0)
		if e.fixed {
			fixed = 1
		}
		for _, v := range []uint32{e.parent, e.mode, fixed, uint32(len(e.name))} {
			b = le.AppendUint32(b, v)
		}
		b = le.AppendUint64(le.AppendUint64(b, uint64(offset)), uint64(len(e.data)))
		b = append(append(b, e.name...), make([]byte, up(len(e.name))-len(e.name))...)
		offset += up(len(e.data))
	}
	for _, e := range t.entries {
		b = append(append(b, e.data...), make([]byte, up(len(e.data))-len(e.data))...)
	}
	return b
}

// testFiles is what the tests of the package in dir find, as go test has it: its
// directory, by the same path; and the rest of its module, where that is not too
// large, or else what is named testdata in the directories above.
func testFiles(dir string) (all []Files) {
	root := moduleOf(dir)
	if root != "" && smallTree(root) {
		dir = root
	}
	all = append(all, Files{Dir: dir, Prefix: filepath.ToSlash(dir)})
	for up := dir; root != "" && up != root && len(up) > len(root); {
		up = filepath.Dir(up)
		shared := filepath.Join(up, "testdata")
		if isDir(shared) && smallTree(shared) {
			all = append(all, Files{Dir: shared, Prefix: filepath.ToSlash(shared)})
		}
	}
	return all
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// smallTree says whether a directory has few files.
func smallTree(dir string) bool {
	const most, size = 10000, 64 << 20
	files, bytes := 0, int64(0)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		files++
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		if files > most || bytes > size {
			return fs.SkipAll
		}
		return nil
	})
	return err == nil && files <= most && bytes <= size
}

// Root certificates: where Go looks for them, and where hosts have them.
const certsPath = "/etc/ssl/certs/ca-certificates.crt"

var hostCerts = []string{certsPath, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cert.pem", "/etc/ssl/cert.pem"}

// certs returns the file of root certificates that a program gets which has the
// system's in it: the one given, or the build host's. "none" is none.
func (c *Config) certs(program []byte) (file, told string, err error) {
	if c.CACerts == "none" {
		return "", "", nil
	}
	if c.CACerts != "" {
		return c.CACerts, "", nil
	}
	uses, err := hasSymbol(program, "crypto/x509.loadSystemRoots")
	if !uses || err != nil {
		return "", "", err
	}
	for _, f := range hostCerts {
		if info, err := os.Stat(f); err == nil && info.Mode().IsRegular() {
			return f, "the image has the root certificates of this host, " + f + " (--ca-certs=FILE for others, --ca-certs=none for none)", nil
		}
	}
	return "", "this host has no root certificates, so the program will trust nobody: see --ca-certs", nil
}
