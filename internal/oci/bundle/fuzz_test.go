package bundle

import (
	"path"
	"strings"
	"testing"

	"gocat/internal/image"
)

// FuzzParse reads hostile configurations. What is taken has what the runtime goes by;
// what is not is refused in one short line.
func FuzzParse(f *testing.F) {
	const minimal = `{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"args":["/u"],"cwd":"/","user":{"uid":0,"gid":0}},"linux":{"namespaces":[{"type":"mount"}]`
	f.Add(minimal + "}}")
	f.Add(minimal + `,"devices":[{"path":"/dev/solo5/a","type":"b","major":7,"minor":0}]},"mounts":[{"destination":"/dev/solo5/data","type":"bind","source":"/x","options":["ro"]},{"destination":"/../x","type":"tmpfs","source":"t","options":["size=1k","rprivate","rro"]}]}`)
	f.Add(minimal + `,"sysctl":{"net.ipv4.x":"1"},"uidMappings":[{"containerID":0,"hostID":1,"size":1}]},"hostname":"x","hooks":{"prestart":[{"path":"/x","timeout":1}]}}`)
	f.Add(minimal + `,"intelRdt":{}}}`)
	f.Add(`{"ociVersion":"1.0.0"}{}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse([]byte(text))
		if err != nil {
			if e := err.Error(); len(e) > 500 || strings.ContainsFunc(e, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("error is not one short line: %q", e)
			}
			return
		}
		if s.Root.Path == "" || s.Process.Args[0] == "" || s.Process.Cwd[0] != '/' || !Has(s, "mount") {
			t.Fatalf("%+v", s)
		}
		for i := range s.Mounts {
			m := &s.Mounts[i]
			if m.Destination != path.Clean(m.Destination) || m.Destination[0] != '/' || m.Destination == "/" {
				t.Fatalf("destination %q", m.Destination)
			}
			if name, ok := BlockName(m.Destination); ok && !image.ValidName(name) {
				t.Fatalf("block device %q", name)
			}
		}
		for name := range s.Linux.Sysctl {
			if strings.Contains(path.Clean("/"+strings.ReplaceAll(name, ".", "/")), "kernel/core_pattern") {
				t.Fatalf("sysctl %q", name)
			}
		}
	})
}
