package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestStarts has a server with its own network stack start many times, and each time
// return a body of 50 MiB: GOCAT_STARTS says how often.
func TestStarts(t *testing.T) {
	testhost.Slow(t)
	testhost.NeedRoot(t, "to make namespaces and taps")
	starts := testhost.Count(t, "GOCAT_STARTS", 2)
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img := goImage(t, target, "../../examples/httpd")
			serverTap(t)
			for i := range starts {
				r, w := testhost.Pipe(t)
				c := command("run", "--backend="+target.String(), "--mem=128", "--net", "service=tap100", img, "--addr", "10.0.0.2/24")
				c.Files = []*os.File{testhost.Null(t), w, w}
				p := c.Start(t)
				w.Close()
				testhost.Expect(t, r, "httpd: listening on http://10.0.0.2:80\n")
				if err := echo(50 << 20); err != nil {
					t.Fatalf("start %d: %v", i, err)
				}
				p.Signal(unix.SIGTERM)
				if status := testhost.Status(p.Wait()); status != 143 {
					t.Fatalf("start %d: status %d", i, status)
				}
				r.Close()
			}
			t.Logf("%d starts", starts)
		})
	}
}

// echo sends n random bytes to the server and compares what it returns meanwhile.
func echo(n int64) error {
	conn, err := net.DialTimeout("tcp", "10.0.0.2:80", time.Minute)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	sent, got := sha256.New(), sha256.New()
	source := rand.NewChaCha8([32]byte{1})
	req, err := http.NewRequest("POST", "http://10.0.0.2/echo", io.TeeReader(io.LimitReader(source, n), sent))
	if err != nil {
		return err
	}
	req.ContentLength = n
	written := make(chan error, 1)
	go func() { written <- req.Write(conn) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	m, err := io.Copy(got, resp.Body)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", m, err)
	}
	if err := <-written; err != nil {
		return err
	}
	if m != n || string(got.Sum(nil)) != string(sent.Sum(nil)) {
		return fmt.Errorf("%d bytes of %d came back, or others", m, n)
	}
	return nil
}

// BenchmarkServers has the same web server run natively on the loopback, natively with
// gVisor's network stack on a tap, and as a unikernel on one, and measures them in
// turns: requests a second on eight connections, and bodies of 100 MiB to the server,
// at an MTU of 1500. Ratios are medians of those of each turn.
//
//	go test -run=NONE -bench=Servers -benchtime=10x ./internal/e2e
func BenchmarkServers(b *testing.B) {
	testhost.NeedRoot(b, "to make namespaces and taps")
	testhost.Netns(b)
	testhost.Up(b, "lo", 65536)
	dir := b.TempDir()
	build := func(path string, args ...string) string {
		out := filepath.Join(dir, filepath.Base(path)+fmt.Sprint(len(args), args[1]))
		cmd := exec.Command(path, append(append(args, "-o", out), "../goguests/speed")...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %v\n%s", cmd, err, text)
		}
		return out
	}
	native := build("go", "build", "-tags=gvisor")
	guests := map[string]string{"spt": build(gocat, "build", "--target=spt"), "hvt": build(gocat, "build", "--target=hvt")}
	kinds := []string{"native", "gvisor", "spt", "hvt"}
	address := map[string]string{"native": "127.0.0.1:80"}
	for i, kind := range kinds {
		c := &testhost.Command{Path: native, Args: []string{"127.0.0.1:80"}}
		if i > 0 {
			tap, net := fmt.Sprint("tap", i), fmt.Sprintf("10.0.%d.", i)
			testhost.Tap(b, tap, unix.IFF_TAP|unix.IFF_NO_PI)
			testhost.Address(b, tap, netip.MustParsePrefix(net+"1/24"))
			testhost.Up(b, tap, 1500)
			address[kind] = net + "2:80"
			c.Args = []string{tap, address[kind]}
			if img := guests[kind]; img != "" {
				c = command("run", "--backend="+kind, "--mem=256", "--net", "service="+tap, img, "--ipv4="+net+"2/24", "--", ":80")
			}
		}
		r, w := testhost.Pipe(b)
		c.Files = []*os.File{testhost.Null(b), w, w}
		p := c.Start(b)
		b.Cleanup(func() { p.Signal(unix.SIGKILL); p.Wait() })
		w.Close()
		testhost.Expect(b, r, "speed: ready\n")
	}
	requests, bodies := map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for _, kind := range kinds {
			requests[kind] = append(requests[kind], requestRate(b, address[kind], 2000))
			bodies[kind] = append(bodies[kind], bodyRate(b, address[kind], 100<<20))
		}
	}
	for _, kind := range kinds {
		b.ReportMetric(median(requests[kind]), kind+"-requests/s")
		b.ReportMetric(median(bodies[kind]), kind+"-MiB/s")
		if kind != "native" {
			b.ReportMetric(median(ratios(requests[kind], requests["native"])), kind+"/native-requests")
		}
		if guests[kind] != "" {
			b.ReportMetric(median(ratios(bodies[kind], bodies["gvisor"])), kind+"/gvisor-bodies")
		}
	}
}

func ratios(a, b []float64) (all []float64) {
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return all
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// requestRate is how many requests a server answers in a second, of n on eight
// connections.
func requestRate(b *testing.B, address string, n int) float64 {
	const connections = 8
	begin, errs := time.Now(), make(chan error, connections)
	for range connections {
		conn := connect(b, address)
		defer conn.Close()
		go func() {
			in := bufio.NewReader(conn)
			for range n / connections {
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: speed\r\n\r\n"); err != nil {
					errs <- err
					return
				}
				if err := answer(in, "Hello\n"); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range connections {
		if err := <-errs; err != nil {
			b.Fatal(address, err)
		}
	}
	return float64(n) / time.Since(begin).Seconds()
}

// bodyRate is how many MiB of a body of n bytes a server takes in a second.
func bodyRate(b *testing.B, address string, n int) float64 {
	conn := connect(b, address)
	defer conn.Close()
	begin := time.Now()
	fmt.Fprintf(conn, "POST /sink HTTP/1.1\r\nHost: speed\r\nContent-Length: %d\r\n\r\n", n)
	piece := make([]byte, 1<<20)
	for sent := 0; sent < n; sent += len(piece) {
		if _, err := conn.Write(piece); err != nil {
			b.Fatal(address, err)
		}
	}
	if err := answer(bufio.NewReader(conn), fmt.Sprint(n, " <nil>")); err != nil {
		b.Fatal(address, err)
	}
	return float64(n) / (1 << 20) / time.Since(begin).Seconds()
}

func connect(b *testing.B, address string) net.Conn {
	conn, err := net.DialTimeout("tcp", address, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return conn
}

func answer(in *bufio.Reader, want string) error {
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
		return fmt.Errorf("%s: %.100q, %v", resp.Status, got, err)
	}
	return nil
}
