package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The ordinary user of these tests, who has subordinate IDs as adduser gives them.
const (
	userName = "gocat-engines"
	userID   = 61000
)

// userRun is the user's directory for sockets and the like; their home is beside it.
var userRun = filepath.Join("/run/user", strconv.Itoa(userID))

const userHome = "/var/lib/containers/" + userName

// addUser makes the user known in the tests' mount namespace, and gives everybody the
// devices for taps and virtual machines, as udev does.
func addUser() error {
	id := strconv.Itoa(userID)
	subordinate := userName + ":100000:65536\n"
	for path, line := range map[string]string{
		"/etc/passwd": userName + ":x:" + id + ":" + id + "::" + userHome + ":/bin/sh\n",
		"/etc/group":  userName + ":x:" + id + ":\n",
		"/etc/subuid": subordinate,
		"/etc/subgid": subordinate,
	} {
		content, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		own := filepath.Join("/run", filepath.Base(path))
		if err := os.WriteFile(own, append(content, line...), 0o644); err != nil {
			return err
		}
		if f, err := os.OpenFile(path, os.O_CREATE, 0o644); err != nil { // a place for the mount
			return err
		} else {
			f.Close()
		}
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, dir := range []string{userRun, userHome} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chown(dir, userID, userID); err != nil {
			return err
		}
	}
	for path, minor := range map[string]uint32{"/dev/net/tun": 200, "/dev/kvm": 232} {
		own := filepath.Join("/run", filepath.Base(path))
		if err := unix.Mknod(own, unix.S_IFCHR, int(unix.Mkdev(10, minor))); err != nil {
			return err
		}
		if err := os.Chmod(own, 0o666); err != nil {
			return err
		}
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// rootless is podman as an ordinary user runs it.
type rootless struct{ cli }

func newRootless() engine { return &rootless{} }

func (r *rootless) start(t *testing.T) {
	id := strconv.Itoa(userID)
	r.program = []string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups",
		"env", "-i", "PATH=" + os.Getenv("PATH"), "HOME=" + userHome, "XDG_RUNTIME_DIR=" + userRun, "TMPDIR=" + userRun,
		"CONTAINERS_CONF=" + configurePodman(t), "podman"}
	r.mapping = []string{"--userns=keep-id"}
	t.Cleanup(func() { command(t, nil, r.args("rm", "--all", "--force", "--time=0")...) })
}

func (r *rootless) lacks(need string) string {
	return map[string]string{
		"limits": "an ordinary user's control groups of version 1 are not their own",
		"update": "as limits",
		"pause":  "as limits",
	}[need]
}

// bridge is slirp4netns with a port handler that sends to the network's end. The other
// one connects from within the container's namespace, where the guest is not.
func (r *rootless) bridge() string { return "slirp4netns:port_handler=slirp4netns" }
