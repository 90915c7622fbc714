package engines

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// bundle is a container for a runtime without an engine, the same for all runtimes.
type bundle struct{ dir string }

// newBundle makes a bundle with one program. groups is the path of its control
// groups; an empty one leaves them to the runtime.
func newBundle(t testing.TB, program string, groups string, args ...string) *bundle {
	t.Helper()
	b := &bundle{t.TempDir()}
	name := filepath.Base(program)
	if err := os.Mkdir(b.dir+"/rootfs", 0o755); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.dir+"/rootfs/"+name, content, 0o755); err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	namespaces := []object{}
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount"} {
		namespaces = append(namespaces, object{"type": kind})
	}
	linux := object{"namespaces": namespaces, "resources": object{"devices": []object{{"allow": false, "access": "rwm"}}},
		"maskedPaths":   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"},
		"readonlyPaths": []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}
	if groups != "" {
		linux["cgroupsPath"] = groups
	}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2",
		"process":    object{"user": object{"uid": 0, "gid": 0}, "args": append([]string{"/" + name}, args...), "env": []string{"PATH=/"}, "cwd": "/", "noNewPrivileges": true, "capabilities": object{}},
		"root":       object{"path": "rootfs", "readonly": true},
		"hostname":   "guest",
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": []string{"nosuid", "noexec", "nodev", "ro"}}},
		"linux": linux,
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, b.dir+"/config.json", string(config))
	return b
}

// spawned is a runtime's call with what the container's process inherits.
func (b *bundle) spawned(root string, words ...string) *exec.Cmd {
	cmd := exec.Command(words[0], append([]string{"--root", root}, words[1:]...)...)
	cmd.Dir = b.dir
	return cmd
}

// groupsLeft are directories of control groups with a name, in all hierarchies.
func groupsLeft(name string) (all []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name + "/*", "/sys/fs/cgroup/*/" + name + "/*"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			if info, err := os.Stat(f); err == nil && info.IsDir() {
				all = append(all, f)
			}
		}
	}
	return all
}
