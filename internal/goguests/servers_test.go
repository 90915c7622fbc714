package goguests

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestServers has well-known servers, unmodified, answer clients over the loopback
// of a unikernel. Their modules and the time to compile them are for CI.
// GOCAT_REQUESTS is how many requests each gets, with GOCAT_BIG 50,000, beside six
// processes that compute; then each gets one from each client beside six goroutines of
// the guest that do, for which a request waits for seconds.
func TestServers(t *testing.T) {
	requests, options := os.Getenv("GOCAT_REQUESTS"), []string(nil)
	many := []string{"-clients", "200"}
	switch {
	case big() && requests == "":
		requests, options = "50000", many
	case requests != "":
		options = many
	case os.Getenv("CI") == "" || os.Getenv("GOCAT_IMAGES") != "":
		t.Log("runs where CI or GOCAT_BIG is set, and Go is there")
		return
	default:
		requests = "1000"
	}
	download := exec.Command("go", "mod", "download")
	download.Dir = "testdata/servers"
	if out, err := download.CombinedOutput(); err != nil {
		testhost.Skip(t, "the servers need modules that cannot be had: "+string(out))
	}
	if options != nil {
		testhost.Busy(t, 6)
	}
	for _, target := range []image.Target{image.SPT, image.HVT} {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target)
			build := exec.Command(gocat, "build", "--loopback", "--target", target.String(), "-o", file(t, "servers", target), "./testdata/servers")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("gocat build: %v\n%s", err, out)
			}
			r := runner{t, target, gocat, []string{"run", "--backend=" + target.String()}, false}
			answered := func(requests string, options ...string) {
				for _, s := range strings.Fields("chi https prometheus websocket dns grpc nats ssh gin wazero sqlite") {
					got := r.command("servers", []string{"--mem=512"}, append(slices.Clip(options), "-n", requests, s)...).Run(t)
					r.check(t, got, testhost.Result{Stdout: s + ": " + requests + " requests\n"})
				}
			}
			answered(requests, options...)
			if options != nil { // with more clients, they lose patience natively too
				answered("100", "-clients", "8", "-busy", "6")
			}
		})
	}
}
