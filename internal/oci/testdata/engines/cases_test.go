package engines

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cases are run for every engine and backend. A case that an engine lacks what
// it needs for is left out, with the reason.
var cases = []struct {
	name  string
	needs string // see engine.lacks
	run   func(t *testing.T, e engine, backend string)
}{
	{"status", "", testStatus},
	{"faults", "", testFaults},
	{"stdin", "stdin", testStdin},
	{"terminal", "terminal", testTerminal},
	{"logs", "logs", testLogs},
	{"stop", "", testStop},
	{"stop in order", "logs", testStopInOrder},
	{"kill", "", testKill},
	{"restart", "restart", testRestart},
	{"pause", "pause", testPause},
	{"memory", "limits", testMemory},
	{"update", "update", testUpdate},
	{"publish", "publish", testPublish},
	{"volume", "volume", testVolume},
	{"networks", "networks", testNetworks},
	{"mapping", "mapping", testMapping},
	{"urunc", "", testUrunc},
	{"many", "", testMany},
}

// engines are what the cases are run under.
var engines = []struct {
	name string
	make func() engine
}{
	{"podman", newPodman},
	{"rootless", newRootless},
	{"docker", newDocker},
	{"ctr", newCtr},
	{"cri", newCRI},
}

func TestEngines(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			engine := e.make()
			engine.start(t)
			for _, backend := range backends {
				t.Run(backend, func(t *testing.T) {
					for _, name := range []string{"tool", "input", "disk", "nets", "web", "fault", "forbidden"} {
						if archive := filepath.Join(dir, name+"."+backend+".tar"); exists(archive) {
							engine.load(t, archive)
						}
					}
					for _, c := range cases {
						t.Run(c.name, func(t *testing.T) {
							if why := engine.lacks(c.needs); why != "" {
								t.Logf("left out: %s", why)
								return
							}
							c.run(t, engine, backend)
						})
					}
				})
			}
		})
	}
	wantNothingLeft(t)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func tool(backend string, args ...string) spec { return spec{image: "tool-" + backend, args: args} }

// input is the tool with standard input.
func input(backend string, args ...string) spec { return spec{image: "input-" + backend, args: args} }

func testStatus(t *testing.T, e engine, backend string) {
	for _, status := range []int{0, 1, 7, 139, 159} {
		if got := e.run(t, tool(backend, "exit", strconv.Itoa(status))); got.status != status || got.stdout != "" {
			t.Errorf("a guest that exits with %d: %+v", status, got)
		}
	}
	if got := e.run(t, tool(backend, "echo", "a b", "", "$HOME")); got.status != 0 || got.stdout != "a b  $HOME\n" {
		t.Errorf("arguments: %+v", got)
	}
	if got := e.run(t, tool(backend, "unknown")); got.status != 2 || !strings.Contains(got.stdout+got.stderr, `"unknown" is not known`) {
		t.Errorf("standard error: %+v", got)
	}
}

// Faults and forbidden calls end spt guests with these statuses, and a line.
func testFaults(t *testing.T, e engine, backend string) {
	if backend != "spt" {
		return // such guests of hvt's end as they please
	}
	for image, want := range map[string]int{"fault": 139, "forbidden": 159} {
		got := e.run(t, spec{image: image + "-" + backend})
		if got.status != want || strings.Count(got.stderr+got.stdout, "\n") != 1 {
			t.Errorf("%s: %+v, expected status %d and one line", image, got, want)
		}
	}
}

func testStdin(t *testing.T, e engine, backend string) {
	for _, size := range []int{0, 1, 3 << 20} {
		data := random(size)
		s := input(backend, "cat")
		s.stdin = data
		got := e.run(t, s)
		if got.status != 0 || strings.TrimSuffix(got.stdout, "end of input\n") != string(data) {
			t.Errorf("%d bytes: status %d, %d bytes, stderr %q", size, got.status, len(got.stdout), got.stderr)
		}
	}
}

func random(size int) []byte {
	r, b := rand.New(rand.NewPCG(1, 2)), make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A console shows what is typed, and gives it line by line.
func testTerminal(t *testing.T, e engine, backend string) {
	s := input(backend, "line")
	s.terminal, s.stdin = true, []byte("hello\r")
	got := e.run(t, s)
	if got.status != 0 || !strings.Contains(got.stdout, "HELLO <nil>\r") { // where lines end as on a console
		t.Errorf("%+v", got)
	}
}

// lines is what the tool prints, n lines.
func lines(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%09d %s\n", i, strings.Repeat(string(rune('a'+i%26)), 89))
	}
	return b.Bytes()
}

func testLogs(t *testing.T, e engine, backend string) {
	const n = 10_000_000 / 100
	s := tool(backend, "lines", strconv.Itoa(n))
	loses := e.lacks("last words") != ""
	if loses {
		s.args = append(s.args, "stay")
	}
	c := e.launch(t, s)
	if !loses {
		if status := c.wait(); status != 0 {
			t.Errorf("status %d", status)
		}
	}
	eventually(t, "all of the logs", func() bool { return len(c.logs()) >= n*100 })
	if got := c.logs(); !bytes.Equal(got, lines(n)) {
		t.Errorf("%d bytes of logs differ from the %d that were printed", len(got), n*100)
	}
}

func testStop(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "wait"))
	start := time.Now() // the guest need not have begun
	c.stop(int(patience / time.Second))
	if status := c.wait(); status != 143 || time.Since(start) >= patience {
		t.Errorf("status %d after %v", status, time.Since(start))
	}
}

func testStopInOrder(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "term"))
	eventually(t, "the guest", func() bool { return string(c.logs()) == "waiting\n" })
	c.stop(int(patience / time.Second))
	if status := c.wait(); status != 7 {
		t.Errorf("status %d, logs %q", status, c.logs())
	}
	eventually(t, "its last words", func() bool { return string(c.logs()) == "waiting\nasked to end\n" })
}

func testKill(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "wait"))
	c.kill("KILL")
	if status := c.wait(); status != 137 {
		t.Errorf("status %d", status)
	}
}

func testRestart(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "wait"))
	for starts := 1; ; starts++ {
		eventually(t, fmt.Sprint(starts, " starts"), func() bool { return string(c.logs()) == strings.Repeat("waiting\n", starts) })
		if starts == 3 {
			return
		}
		c.restart()
		if state := c.state(); state != "running" {
			t.Errorf("it is %s", state)
		}
	}
}

// A paused guest prints nothing, and then goes on.
func testPause(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "tick"))
	ticks := func() int { return bytes.Count(c.logs(), []byte("\n")) }
	eventually(t, "a first tick", func() bool { return ticks() > 0 })
	c.pause()
	if state := c.state(); state != "paused" {
		t.Errorf("it is %s", state)
	}
	time.Sleep(300 * time.Millisecond) // what was printed reaches the logs
	before := ticks()
	time.Sleep(500 * time.Millisecond)
	if now := ticks(); now != before {
		t.Errorf("%d lines while paused", now-before)
	}
	c.resume()
	eventually(t, "a tick after the pause", func() bool { return ticks() > before })
}

// A guest has as much memory as the container's limit; it finds that it has no
// more, and the host is never asked for it.
func testMemory(t *testing.T, e engine, backend string) {
	s := tool(backend, "eat", "16")
	s.memory = "96m"
	if got := e.run(t, s); got.status != 0 || got.stdout != "ate 16\n" {
		t.Errorf("16 MB of a limit of 96: %+v", got)
	}
	s.args[1] = "200"
	if got := e.run(t, s); got.status != 2 && got.status != 137 || strings.Contains(got.stdout, "ate 200") {
		t.Errorf("200 MB of a limit of 96: %+v", got)
	}
}

// A limit below what the guest has comes later, and kills.
func testUpdate(t *testing.T, e engine, backend string) {
	c := e.launch(t, tool(backend, "grow", "400"))
	c.limit(64)
	if status := c.wait(); status != 137 {
		t.Errorf("status %d, %q", status, c.logs())
	}
}

// port is the one that cases publish.
const port = 8080

func testPublish(t *testing.T, e engine, backend string) {
	e.launch(t, spec{image: "web-" + backend, publish: fmt.Sprintf("%d:80", port), networks: defaultNetworks(e)})
	wantGreeting(t, port)
	// Segments of full size both ways: checksums that the peer leaves to hardware.
	data := random(4 << 20)
	r, err := (&http.Client{Timeout: patience}).Post(fmt.Sprintf("http://127.0.0.1:%d/echo", port), "application/octet-stream", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if got, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(data), err)
	}
}

// A guest whose users are others on the host has its devices all the same.
func testMapping(t *testing.T, e engine, backend string) {
	if got := e.run(t, spec{image: "tool-" + backend, args: []string{"exit", "7"}, mapped: true}); got.status != 7 {
		t.Errorf("%+v", got)
	}
	path, _ := disk(t)
	if got := e.run(t, spec{image: "disk-" + backend, args: []string{"second"}, volume: path + ":/dev/solo5/data", mapped: true}); got.status != 0 || got.stdout != "had first\nwrote second\n" {
		t.Errorf("%+v", got)
	}
	if e.lacks("publish") != "" {
		return
	}
	port := int(mappedPort.Add(1))
	e.launch(t, spec{image: "web-" + backend, publish: fmt.Sprintf("%d:80", port), networks: defaultNetworks(e), mapped: true})
	wantGreeting(t, port)
}

// mappedPort is the last that testMapping has published: podman 4.3 does not take back what
// it does for one, whatever the runtime.
var mappedPort atomic.Int32

func init() { mappedPort.Store(port) }

// wantGreeting waits for the web server's answer on a published port.
func wantGreeting(t *testing.T, port int) {
	t.Helper()
	body := ""
	eventually(t, "an answer", func() bool {
		r, err := (&http.Client{Timeout: 5 * time.Second}).Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		body = string(b)
		return err == nil
	})
	if want := "Hello from a Go program without an operating system\n"; body != want {
		t.Errorf("%q", body)
	}
}

// disk is a file for the guest disk, and what is in it.
func disk(t *testing.T) (path string, image []byte) {
	t.Helper()
	path = filepath.Join(dir, "disk.img") // where every user's engine finds it
	image = make([]byte, 1<<20)
	copy(image, "first")
	write(t, path, string(image))
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	return path, image
}

func testVolume(t *testing.T, e engine, backend string) {
	path, image := disk(t)
	s := spec{image: "disk-" + backend, args: []string{"second"}, volume: path + ":/dev/solo5/data"}
	if got := e.run(t, s); got.status != 0 || got.stdout != "had first\nwrote second\n" {
		t.Errorf("%+v", got)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte("second\x00")) || len(b) != len(image) {
		t.Errorf("the file has %q, %v", b[:16], err)
	}
	s.volume += ":ro"
	if got := e.run(t, s); got.status == 0 || strings.Contains(got.stdout, "wrote") {
		t.Errorf("read-only: %+v", got)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte("second\x00")) {
		t.Errorf("the file has %q, %v", b[:16], err)
	}
	if got := e.run(t, spec{image: "disk-" + backend}); got.status == 0 || !strings.Contains(got.stderr+got.stdout, "data") {
		t.Errorf("without its disk: %+v", got)
	}
}

func testMany(t *testing.T, e engine, backend string) {
	n := 50
	if _, ok := e.(*ctr); testing.Short() && !ok { // whose clients are the quickest
		n = 10
	}
	all := make([]container, n)
	var wg sync.WaitGroup
	places := make(chan bool, 8) // so many starts at a time
	for i := range all {
		places <- true
		wg.Go(func() {
			defer func() { <-places }()
			all[i] = e.launch(t, tool(backend, "wait"))
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, c := range all {
		if state := c.state(); state != "running" {
			t.Errorf("one of %d is %s", n, state)
		}
	}
	for _, c := range all {
		wg.Go(func() { c.kill("KILL") })
	}
	wg.Wait()
	for _, c := range all {
		if status := c.wait(); status != 137 {
			t.Errorf("status %d", status)
		}
	}
}
