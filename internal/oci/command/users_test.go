package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// Where users of containers with a user namespace are on the host.
const firstUser, firstGroup = 200000, 300000

// mapUsers gives the container a user namespace, and its users the root directory, as
// engines do.
func (b *box) mapUsers() {
	b.t.Helper()
	b.spec.Linux.Namespaces = append(b.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	b.spec.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: firstUser, Size: 3000}}
	b.spec.Linux.GIDMappings = []specs.LinuxIDMapping{{HostID: firstGroup, Size: 3000}}
	for _, dir := range []string{filepath.Dir(b.bundle), b.bundle} {
		if err := os.Chmod(dir, 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(b.bundle, "rootfs"), firstUser, firstGroup); err != nil {
		b.t.Fatal(err)
	}
}

// TestUserNamespace shows that the container's users are others on the host, and that
// the guest has its devices all the same.
func TestUserNamespace(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		for _, user := range []specs.User{{}, {UID: 1234, GID: 2345, AdditionalGids: []uint32{77}}} {
			b := newBox(t, cat(t, target))
			b.mapUsers()
			b.spec.Process.User = user
			b.save()
			stdin, stdout := b.created()
			b.must("start", b.id)
			status := string(mustRead(t, fmt.Sprintf("/proc/%d/status", b.state().Pid)))
			id := func(key string, first int, id uint32) string {
				n := first + int(id)
				return fmt.Sprintf("%s:\t%d\t%[2]d\t%[2]d\t%[2]d\n", key, n)
			}
			for _, want := range []string{id("Uid", firstUser, user.UID), id("Gid", firstGroup, user.GID), "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
				if !strings.Contains(status, want) {
					t.Errorf("no %q in %s", want, status)
				}
			}
			if _, err := stdin.WriteString("hello\n"); err != nil {
				t.Fatal(err)
			}
			stdin.Close()
			b.await("stopped")
			if out := testhost.Contents(t, stdout); !strings.Contains(out, "hello\n") {
				t.Errorf("%q", out)
			}
		}
	})
}

// TestLateNetwork has the container's interface made between create and start, as podman
// does with a user namespace: the network namespace, which is made with it, is its.
func TestLateNetwork(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, []byte(strings.ReplaceAll(string(cat(t, target)), "stdin", "servi")))
		testhost.Netns(t)
		b.mapUsers()
		b.spec.Annotations = map[string]string{"gocat.ipv4": "", "gocat.ipv4-gateway": ""}
		b.save()
		b.created()
		wantError(t, b.do("start", b.id), "the guest's network device 'servi' has no interface")
		b.must("delete", "--force", b.id)

		_, stdout := b.created()
		link := connect(t, fmt.Sprintf("/proc/%d/ns/net", b.state().Pid))
		b.must("start", b.id)
		awaitOutput(t, stdout, "Plugging into servi with mac "+link.HardwareAddr.String()+" mtu 1400")
		payload := "sent to the guest " + strings.Repeat("x", 700)
		sendUDP(t, payload)
		awaitOutput(t, stdout, payload)
		checkUDP(t, testhost.Contents(t, stdout), payload)
	})
}
