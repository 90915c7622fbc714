package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/image"
)

// TestRefused shows that what is wrong with a configuration, or the image, is one
// line, and leaves nothing.
func TestRefused(t *testing.T) {
	name := func(n string, kind image.DeviceType) image.Entry { return image.Entry{Name: n, Type: kind} }
	minus := -2000
	for what, test := range map[string]struct {
		image  []byte
		change func(*box)
		want   string
	}{
		"no binary":                      {nil, func(b *box) {}, `exec: "/unikernel": open /unikernel: no such file or directory`},
		"not in PATH":                    {nil, func(b *box) { b.spec.Process.Args[0] = "unikernel" }, "executable file not found in $PATH"},
		"no image":                       {[]byte("#!/bin/sh\n"), func(b *box) {}, "unikernel: "},
		"a directory":                    {exiting(t, 0), func(b *box) { b.spec.Process.Args[0] = "/dev" }, "not a regular file"},
		"no network":                     {exiting(t, 0, name("service", image.Net)), func(b *box) {}, "network device 'service' has no interface"},
		"the host's network":             {exiting(t, 0, name("service", image.Net)), func(b *box) { b.without(specs.NetworkNamespace) }, "the container's network is the host's"},
		"the host's network by its path": {exiting(t, 0, name("service", image.Net)), func(b *box) { b.join(specs.NetworkNamespace, "/proc/self/ns/net") }, "the container's network is the host's"},
		"the host's name": {exiting(t, 0), func(b *box) {
			b.join(specs.UTSNamespace, "/proc/self/ns/uts")
			b.spec.Hostname = "other"
		}, "the uts namespace is the host's"},
		"the host's sysctl": {exiting(t, 0), func(b *box) {
			b.join(specs.NetworkNamespace, "/proc/self/ns/net")
			b.spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "0"}
		}, "the network namespace is the host's"},
		"a disk of the kernel's": {exiting(t, 0, name("storage", image.Block)), func(b *box) {
			b.spec.Annotations = map[string]string{}
			for key, value := range map[string]string{"unikernelType": "mirage", "hypervisor": "spt", "binary": "/unikernel", "block": "/proc/kcore"} {
				b.spec.Annotations["com.urunc.unikernel."+key] = value
			}
		}, "is not a file of the image's root"},
		"no block device":        {exiting(t, 0, name("data", image.Block)), func(b *box) {}, "mount a file or block device at /dev/solo5/data"},
		"a block too many":       {exiting(t, 0), func(b *box) { b.mount("/dev/solo5/data", "config.json", "bind") }, "no such block device"},
		"a directory as a block": {exiting(t, 0, name("data", image.Block)), func(b *box) { b.mount("/dev/solo5/data", "rootfs", "bind") }, "is a directory"},
		"a block's name":         {exiting(t, 0), func(b *box) { b.mount("/dev/solo5/a b", "config.json", "bind") }, "want a block device's name"},
		"no mount namespace":     {exiting(t, 0), func(b *box) { b.without(specs.MountNamespace) }, "no mount namespace"},
		"a namespace twice": {exiting(t, 0), func(b *box) {
			b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
		}, "pid comes twice"},
		"a lost namespace":  {exiting(t, 0), func(b *box) { b.spec.Linux.Namespaces[0].Path = "/nonexistent/ns" }, "no such file or directory"},
		"a wrong namespace": {exiting(t, 0), func(b *box) { b.spec.Linux.Namespaces[0].Path = "/proc/self/ns/net" }, "invalid argument"},
		"time":              {exiting(t, 0), func(b *box) { b.spec.Linux.Namespaces[0].Type = specs.TimeNamespace }, `"time" is not supported`},
		"intelRdt":          {exiting(t, 0), func(b *box) { b.spec.Linux.IntelRdt = &specs.LinuxIntelRdt{} }, "linux.intelRdt is not supported"},
		"listener":          {exiting(t, 0), func(b *box) { b.spec.Linux.Seccomp = &specs.LinuxSeccomp{ListenerPath: "/x"} }, "listenerPath is not supported"},
		"oom":               {exiting(t, 0), func(b *box) { b.spec.Process.OOMScoreAdj = &minus }, "oomScoreAdj is out of range"},
		"rlimit":            {exiting(t, 0), func(b *box) { b.spec.Process.Rlimits[0].Type = "RLIMIT_X" }, "no limit of Linux"},
		"rlimit too high":   {exiting(t, 0), func(b *box) { b.spec.Process.Rlimits[0].Soft, b.spec.Process.Rlimits[0].Hard = 1<<30, 1<<40 }, "RLIMIT_NOFILE: operation not permitted"},
		"sysctl":            {exiting(t, 0), func(b *box) { b.spec.Linux.Sysctl = map[string]string{"kernel.panic": "1"} }, "not in a separate kernel namespace"},
		"sysctl out":        {exiting(t, 0), func(b *box) { b.spec.Linux.Sysctl = map[string]string{"net/../kernel/panic": "1"} }, "not in a separate kernel namespace"},
		"hugepages": {exiting(t, 0), func(b *box) {
			b.spec.Linux.Resources.HugepageLimits = []specs.LinuxHugepageLimit{{Pagesize: "3MB", Limit: 1}}
		}, "control group"},
		"cgroups": {exiting(t, 0), func(b *box) { b.spec.Linux.CgroupsPath = "/" }, "linux.cgroupsPath is the root"},
		"mount type": {exiting(t, 0), func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/x", Type: "nofs", Source: "x"})
		}, "mount /x: type nofs: no such device"},
		"another proc": {exiting(t, 0), func(b *box) { b.mount("/proc", "rootfs", "bind") }, "mount /proc: want the kernel's"},
		"a tmpfs as proc": {exiting(t, 0), func(b *box) {
			b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: "/proc", Type: "tmpfs", Source: "tmpfs"})
		}, "mount /proc: want the kernel's"},
		"a file in proc": {exiting(t, 0), func(b *box) { b.mount("/proc/version", "config.json", "bind") }, "it is in /proc"},
		"a link to proc": {exiting(t, 0), func(b *box) {
			if err := os.Symlink("/proc/version", filepath.Join(b.bundle, "rootfs", "link")); err != nil {
				t.Fatal(err)
			}
			b.mount("/link", "config.json", "bind")
		}, "it is in /proc"},
		"kernel memory": {exiting(t, 0), func(b *box) {
			b.limit(1 << 28)
			b.spec.Linux.Resources.Memory.KernelTCP = b.spec.Linux.Resources.Memory.Limit
		}, "memory.kernelTCP is not supported"},
		"mount source": {exiting(t, 0), func(b *box) { b.mount("/x", "/nonexistent", "bind") }, "no such file or directory"},
		"idmap":        {exiting(t, 0), func(b *box) { b.mount("/x", "rootfs", "bind", "idmap") }, "option idmap is not supported"},
		"terminal":     {exiting(t, 0), func(b *box) { b.spec.Process.Terminal = true }, "no --console-socket"},
		"root":         {exiting(t, 0), func(b *box) { b.spec.Root.Path = "nowhere" }, "no such file or directory"},
		"arguments":    {exiting(t, 0), func(b *box) { b.spec.Process.Args = append(b.spec.Process.Args, strings.Repeat("x", 9000)) }, "command line is 9000 bytes long"},
		"cwd":          {exiting(t, 0), func(b *box) { b.spec.Process.Cwd = "x" }, "process.cwd is not an absolute path"},
		"a wrong word": {exiting(t, 0), func(b *box) { b.spec.Hostname = strings.Repeat("x", 65) }, "hostname is longer"},
		"apparmor":     {exiting(t, 0), func(b *box) { b.spec.Process.ApparmorProfile = "no-such-profile" }, "process.apparmorProfile"},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBox(t, test.image)
			test.change(b)
			b.save()
			wantError(t, b.do("create", b.id), test.want)
			b.nothingLeft()
		})
	}
}

// without takes a namespace away.
func (b *box) without(kind specs.LinuxNamespaceType) {
	var rest []specs.LinuxNamespace
	for _, n := range b.spec.Linux.Namespaces {
		if n.Type != kind {
			rest = append(rest, n)
		}
	}
	b.spec.Linux.Namespaces = rest
}

// join has a namespace be one that there is.
func (b *box) join(kind specs.LinuxNamespaceType, path string) {
	for i := range b.spec.Linux.Namespaces {
		if n := &b.spec.Linux.Namespaces[i]; n.Type == kind {
			n.Path = path
		}
	}
}

func (b *box) mount(destination, source string, options ...string) {
	b.spec.Mounts = append(b.spec.Mounts, specs.Mount{Destination: destination, Source: source, Type: "bind", Options: options})
}

func (b *box) limit(memory int64) {
	b.spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
}

// TestProc has what engines mount on /proc: the kernel's own once more, as for a
// container with the host's processes, and files of lxcfs.
func TestProc(t *testing.T) {
	b := newBox(t, exiting(t, 0))
	b.mount("/proc", "/proc", "rbind", "nosuid", "noexec", "nodev")
	b.mount("/proc/uptime", "config.json", "bind")
	b.save()
	if r := b.do("run", b.id); r.status != 0 {
		t.Errorf("status %d, %s", r.status, r.stderr)
	}
	wantError(t, b.do("create", "--preserve-fds=1", b.id), "--preserve-fds is not supported")
}

func TestNoJSON(t *testing.T) {
	b := newBox(t, exiting(t, 0))
	for _, text := range []string{"", "{", "[]", `{"ociVersion":"1.0.0"}`, `{"ociVersion":"0.5"}`, "{}{}", strings.Repeat(" ", 5<<20)} {
		b.write("config.json", []byte(text))
		wantError(t, b.do("create", b.id), "config.json: ")
	}
	if err := os.Remove(filepath.Join(b.bundle, "config.json")); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.do("create", b.id), "no such file or directory")
	b.nothingLeft()
}

// TestLinksInRoot has an image whose links lead to the host's files: none of them is
// opened, made or changed.
func TestLinksInRoot(t *testing.T) {
	host := t.TempDir()
	secret := filepath.Join(host, "kernel")
	if err := os.WriteFile(secret, exiting(t, 3), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBox(t, exiting(t, 0))
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(b.bundle, "rootfs", name)); err != nil {
			t.Fatal(err)
		}
	}
	link(secret, "absolute")
	link("../../../../../../../../.."+secret, "relative")
	link(host, "dir")
	if err := os.MkdirAll(filepath.Join(b.bundle, "rootfs", host), 0o755); err != nil { // so that it leads somewhere in the root
		t.Fatal(err)
	}
	for _, name := range []string{"absolute", "relative", "dir/kernel"} {
		b.spec.Process.Args = []string{"/" + name}
		b.save()
		wantError(t, b.do("create", b.id), "no such file or directory")
	}
	// What is mounted over a link is mounted where it leads within the root.
	b.spec.Process.Args = []string{"/unikernel"}
	b.mount("/dir/made/here", "config.json", "bind", "ro")
	b.spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dir/node", Type: "c", Major: 1, Minor: 3}}
	b.spec.Linux.MaskedPaths = []string{"/absolute"}
	b.spec.Root.Readonly = false
	b.save()
	if r := b.do("run", b.id); r.status != 0 {
		t.Errorf("status %d, %s", r.status, r.stderr)
	}
	if entries, err := os.ReadDir(host); err != nil || len(entries) != 1 {
		t.Errorf("the host's directory has %v, %v", entries, err)
	}
	if _, err := os.Stat(filepath.Join(b.bundle, "rootfs", host, "made", "here")); err != nil {
		t.Errorf("what the link leads to in the root: %v", err)
	}
	// And a link in the place of /proc is refused.
	if err := os.Remove(filepath.Join(b.bundle, "rootfs", "proc")); err != nil {
		t.Fatal(err)
	}
	link("/dir", "proc")
	wantError(t, b.do("create", b.id), "there is a symbolic link in its place")
}
