// Package state stores what is known of containers, in a directory for each below
// the runtime's root. What a container is doing is not stored but asked of the
// kernel, so that a runtime that was killed leaves no wrong record.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Container is what is kept of a container. Its directory has the socket on which
// its init waits to be started, too.
type Container struct {
	ID          string            `json:"id"`
	Bundle      string            `json:"bundle"` // absolute
	Rootfs      string            `json:"rootfs"` // absolute
	Created     time.Time         `json:"created"`
	Pid         int               `json:"pid"`            // of its init; 0 before there is one
	Birth       uint64            `json:"birth"`          // of that process, in ticks since boot
	Cgroup      Cgroup            `json:"cgroup"`         // where it is
	Pids        *int64            `json:"pids,omitempty"` // limit of processes, for when it is the guest
	Hooks       *specs.Hooks      `json:"hooks,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Network is what is left to do when the container is started, where the engine
	// makes its interfaces only then; nil otherwise.
	Network *Wants `json:"network,omitempty"`
	// Delegate is the runtime whose container this really is, "" for our own.
	Delegate string `json:"delegate,omitempty"`

	dir string
}

// Wants is what a guest asks for of the container's network.
type Wants struct {
	Nets  []string `json:",omitempty"` // its network devices
	First string   `json:",omitempty"` // the one that has the first interface, if the image says so
	Go    bool     `json:",omitempty"` // it is a program of gocat build
	Args  []string `json:",omitempty"` // the arguments that it has
	// Resolv is the file that the engine mounts at /etc/resolv.conf, if it does.
	Resolv string `json:",omitempty"`
}

// Cgroup says where a container's control groups are.
type Cgroup struct {
	Disabled bool              `json:"disabled,omitempty"`
	Systemd  bool              `json:"systemd,omitempty"`
	Rootless bool              `json:"rootless,omitempty"` // the host may refuse to make it
	Parent   string            `json:"parent,omitempty"`   // of systemd's unit: its slice
	Name     string            `json:"name,omitempty"`     // and its name; or below the runtime's own group
	Prefix   string            `json:"prefix,omitempty"`   // and what goes before that
	Path     string            `json:"path,omitempty"`     // of cgroupfs, below each mount
	Paths    map[string]string `json:"paths,omitempty"`    // on the host, by controller
}

// Store is the directory with all containers' state.
type Store string

// ErrNotRunning is an error that engines know by its words.
var ErrNotRunning = errors.New("container not running")

// NotExistError says that there is no such container.
type NotExistError struct{ ID string }

func (e *NotExistError) Error() string {
	return fmt.Sprintf("container with id %s does not exist", e.ID)
}

// checkID refuses what cannot be the name of a directory.
func checkID(id string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-."
	if id == "" || id == "." || id == ".." || len(id) > unix.NAME_MAX || strings.Trim(id, letters) != "" {
		return fmt.Errorf("invalid container id format: %.80q: want letters, digits and any of _+-. in it", id)
	}
	return nil
}

// Make makes the directory of a new container, which must not be there.
func (s Store) Make(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(string(s), 0o711); err != nil {
		return nil, err
	}
	c := &Container{ID: id, Created: time.Now().UTC(), dir: filepath.Join(string(s), id)}
	if err := os.Mkdir(c.dir, 0o711); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("container with id %s already exists", id)
	} else if err != nil {
		return nil, err
	}
	return c, nil
}

// Load returns a container. One whose creation was cut short has an ID alone.
func (s Store) Load(id string) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(string(s), id)
	if info, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, &NotExistError{id}
	} else if err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, &NotExistError{id}
	}
	c := &Container{ID: id}
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state of container %s: %w", id, err)
	}
	c.ID, c.dir = id, dir
	return c, nil
}

// Again returns the container as it is kept now.
func (c *Container) Again() (*Container, error) {
	return Store(filepath.Dir(c.dir)).Load(c.ID)
}

// List returns all containers, in order of their names.
func (s Store) List() ([]*Container, error) {
	entries, err := os.ReadDir(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []*Container
	for _, e := range entries {
		c, err := s.Load(e.Name())
		if err != nil {
			continue // gone meanwhile, or no container's
		}
		all = append(all, c)
	}
	return all, err
}

const fileName = "state.json"

// Save writes the container's state: all of it or nothing, whatever happens.
func (c *Container) Save() error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	fresh := filepath.Join(c.dir, fileName+".new")
	if err := os.WriteFile(fresh, b, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(c.dir, fileName))
}

// Remove removes what is kept of the container, its state last.
func (c *Container) Remove() error {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != fileName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// Lock keeps other verbs that change the container out until the returned function
// is called, or the process ends.
func (c *Container) Lock() (unlock func(), err error) {
	fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, &NotExistError{c.ID}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.dir, Err: err}
	}
	for {
		if err = unix.Flock(fd, unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("flock", err)
	}
	return func() { unix.Close(fd) }, nil
}

// Path returns the path of a file in the container's directory.
func (c *Container) Path(name string) string { return filepath.Join(c.dir, name) }
