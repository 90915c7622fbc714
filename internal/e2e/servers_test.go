package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestServersOnTap has well-known servers, unmodified, answer the clients of a native
// process over a tap: none of the requests is lost, the server's memory does not grow,
// and a signal ends it in order. GOCAT_REQUESTS is how many requests each gets, beside
// six processes that compute.
func TestServersOnTap(t *testing.T) {
	if os.Getenv("CI") == "" && os.Getenv("GOCAT_REQUESTS") == "" {
		t.Log("runs where CI or GOCAT_REQUESTS is set")
		return
	}
	testhost.NeedRoot(t, "to make namespaces and taps")
	const source = "../goguests/testdata/servers"
	requests, clients := testhost.Count(t, "GOCAT_REQUESTS", 500), 50
	names := []string{"chi", "https", "prometheus", "websocket", "dns", "grpc", "nats", "ssh", "gin", "wazero", "sqlite"}
	native := filepath.Join(t.TempDir(), "servers")
	build := exec.Command("go", "build", "-o", native, ".")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("the servers need modules that cannot be had: %v: %s", err, out))
	}
	if os.Getenv("GOCAT_REQUESTS") != "" {
		testhost.Busy(t, 6)
	}
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img := goImage(t, target, source)
			for _, name := range names {
				t.Run(name, func(t *testing.T) {
					const at = "10.0.0.2:7000"
					p, r := startServer(t, target, img, name+": ready\n", "--ipv4=10.0.0.2/24", "--", "-serve", at, name)
					ask := func(n int) int {
						c := &testhost.Command{Path: native, Args: []string{"-ask", at, "-clients", fmt.Sprint(clients), "-n", fmt.Sprint(n), name}}
						want := testhost.Result{Stdout: fmt.Sprintf("%s: %d requests\n", name, n)}
						if got := c.Run(t); got != want {
							t.Fatalf("got %+v, want %+v", got, want)
						}
						return resident(t, p.Pid)
					}
					warm := ask(requests / 5)
					end := ask(requests - requests/5)
					t.Logf("%d requests, resident %d KiB after a fifth, %d at the end", requests, warm, end)
					if end > warm+8<<10 {
						t.Errorf("its memory grows")
					}
					p.Signal(unix.SIGTERM)
					rest, err := io.ReadAll(r)
					if status := testhost.Status(p.Wait()); err != nil || status != 0 || string(rest) != name+": ended\n" {
						t.Errorf("status %d, printed %q, %v", status, rest, err)
					}
				})
			}
		})
	}
}
