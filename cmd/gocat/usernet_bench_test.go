package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// networkSubject is a guest that is measured: internal/goguests/network on a
// backend and a kind of network.
type networkSubject struct {
	name               string
	args               []string // how it is run
	host               string
	line, sink, source int // ports
	datagrams          int
	amount             int // bytes of a stream
	network            int // number of its process, 0 with a tap
	values             map[string][]float64
	first              int // a port for starts that are measured
}

// BenchmarkNetwork measures user networks and taps of both backends in turn:
//
//	go test ./cmd/gocat -run '^$' -bench Network -benchtime 10x -timeout 30m
//
// It takes root, for the taps. All is in a network namespace.
func BenchmarkNetwork(b *testing.B) {
	testhost.NeedRoot(b, "to make namespaces and taps")
	testhost.Netns(b)
	testhost.Up(b, "lo", 65536)
	subjects := networkSubjects(b)
	for _, s := range subjects {
		s.start(b)
	}
	b.ResetTimer()
	for range b.N {
		rand.Shuffle(len(subjects), func(i, j int) { subjects[i], subjects[j] = subjects[j], subjects[i] })
		for _, m := range networkMeasures {
			for _, s := range subjects {
				if v, ok := m.measure(b, s); ok {
					s.values[m.name] = append(s.values[m.name], v)
				}
			}
		}
	}
	slices.SortFunc(subjects, func(x, y *networkSubject) int { return strings.Compare(x.name, y.name) })
	networkReport(b, subjects)
}

// networkMeasures are what is measured of a subject in each round.
var networkMeasures = []struct {
	name, unit string
	measure    func(testing.TB, *networkSubject) (float64, bool)
}{
	{"first answer after exec", "ms", firstAnswer},
	{"helper, idle", "MB", idleHelper},
	{"new connection and answer", "ms", newConnection},
	{"stream to the guest", "Gbit/s", streamTo},
	{"stream from the guest", "Gbit/s", streamFrom},
	{"1000 connections at once", "answered", manyConnections},
	{"10,000 datagrams a second", "lost of 20,000", datagrams},
	{"helper, after that", "MB", helperMemory},
}

func networkSubjects(b *testing.B) (all []*networkSubject) {
	images := b.TempDir()
	taps := 0
	for _, backend := range []string{"spt", "hvt"} {
		image := filepath.Join(images, "network."+backend)
		gocat(b, "build", "--target="+backend, "-o", image, "../../internal/goguests/network").wantSuccess(b)
		run := []string{"run", "--backend=" + backend, "--mem=256"}
		user := &networkSubject{name: backend + " user", host: "127.0.0.1",
			line: freePort(b), sink: freePort(b), source: freePort(b), datagrams: freePort(b), first: freePort(b), amount: 256 << 20}
		user.args = append(slices.Clone(run), "--net=service=user", fmt.Sprintf("--publish=%d:80", user.line), fmt.Sprintf("--publish=%d:81", user.sink),
			fmt.Sprintf("--publish=%d:82", user.source), fmt.Sprintf("--publish=%d:7/udp", user.datagrams), image)
		taps++
		name := fmt.Sprint("tap", taps)
		testhost.Tap(b, name, unix.IFF_TAP|unix.IFF_NO_PI)
		testhost.Address(b, name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(taps), 1}), 24))
		testhost.Up(b, name, 1500)
		tap := &networkSubject{name: backend + " tap", host: fmt.Sprintf("10.9.%d.2", taps), line: 80, sink: 81, source: 82, datagrams: 7, amount: 32 << 20}
		tap.args = append(slices.Clone(run), "--net=service="+name, image, "--ipv4="+tap.host+"/24")
		all = append(all, user, tap)
	}
	for _, s := range all {
		s.values = map[string][]float64{}
	}
	return all
}

// start starts the subject's guest and waits until it is ready.
func (s *networkSubject) start(b *testing.B) {
	before := serving(b)
	cmd := exec.Command(program, s.args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "network: ready\n" {
		b.Fatalf("%s: %q, %v, %s", s.name, line, err, &stderr)
	}
	for pid := range serving(b) {
		if !before[pid] {
			s.network = pid
		}
	}
}

// dial connects from this goroutine, whose thread is in the network namespace.
func (s *networkSubject) dial(t testing.TB, port int) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", net.JoinHostPort(s.host, fmt.Sprint(port)), 20*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c.(*net.TCPConn)
}

const question = "hello\n"

// answer asks on a connection and reads the answer.
func answer(c net.Conn) error {
	defer c.Close()
	if _, err := io.WriteString(c, question); err != nil {
		return err
	}
	if got, err := io.ReadAll(c); string(got) != question {
		return fmt.Errorf("answer %q, %v", got, err)
	}
	return nil
}

func firstAnswer(t testing.TB, s *networkSubject) (float64, bool) {
	if s.network == 0 {
		return 0, false
	}
	args := append(slices.Clone(s.args[:3]), "--net=service=user", fmt.Sprintf("--publish=%d:80", s.first), s.args[len(s.args)-1])
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", s.first))
		if err == nil {
			c.SetDeadline(time.Now().Add(20 * time.Second))
			if err := answer(c); err != nil {
				t.Fatal(err)
			}
			return milliseconds(time.Since(begin)), true
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// idleHelper is how much memory a helper has that has just begun.
func idleHelper(t testing.TB, s *networkSubject) (float64, bool) {
	if s.network == 0 || len(s.values["new connection and answer"]) > 0 {
		return 0, false
	}
	return helperMemory(t, s)
}

func helperMemory(t testing.TB, s *networkSubject) (float64, bool) {
	if s.network == 0 {
		return 0, false
	}
	return float64(resident(t, s.network)) / 1024, true
}

// newConnection is the median of some connections, one after the other.
func newConnection(t testing.TB, s *networkSubject) (float64, bool) {
	var all []float64
	for range 100 {
		begin := time.Now()
		if err := answer(s.dial(t, s.line)); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		all = append(all, milliseconds(time.Since(begin)))
	}
	return median(all), true
}

// streamTo sends, and the guest's count of it is the end.
func streamTo(t testing.TB, s *networkSubject) (float64, bool) {
	c := s.dial(t, s.sink)
	defer c.Close()
	b := make([]byte, 256<<10)
	begin := time.Now()
	for sent := 0; sent < s.amount; sent += len(b) {
		if _, err := c.Write(b); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	c.CloseWrite()
	if got, err := io.ReadAll(c); string(got) != fmt.Sprintln(s.amount) {
		t.Fatalf("%s: the guest has %q, %v", s.name, got, err)
	}
	return s.gigabits(begin), true
}

func (s *networkSubject) gigabits(begin time.Time) float64 {
	return float64(s.amount) * 8 / 1e9 / time.Since(begin).Seconds()
}

func streamFrom(t testing.TB, s *networkSubject) (float64, bool) {
	c := s.dial(t, s.source)
	defer c.Close()
	begin := time.Now()
	fmt.Fprintln(c, s.amount)
	b := make([]byte, 256<<10)
	for got := 0; got < s.amount; {
		n, err := c.Read(b)
		if got += n; err != nil {
			t.Fatalf("%s: %v after %d bytes", s.name, err, got)
		}
	}
	return s.gigabits(begin), true
}

// manyConnections has all connections open before the first asks.
func manyConnections(t testing.TB, s *networkSubject) (float64, bool) {
	all := make([]*net.TCPConn, 1000)
	for i := range all {
		all[i] = s.dial(t, s.line)
	}
	answered := 0.0
	for _, c := range all {
		if err := answer(c); err == nil {
			answered++
		}
	}
	return answered, true
}

// datagrams sends 20 a two milliseconds, for two seconds, and counts what does not come back.
func datagrams(t testing.TB, s *networkSubject) (float64, bool) {
	const total, pause = 20_000, 2 * time.Millisecond
	conn, err := net.Dial("udp", net.JoinHostPort(s.host, fmt.Sprint(s.datagrams)))
	if err != nil {
		t.Fatal(err)
	}
	c := conn.(*net.UDPConn)
	defer c.Close()
	c.SetReadBuffer(4 << 20)
	came := make(chan int)
	go func() {
		b, n := make([]byte, 2048), 0
		for n < total {
			if _, err := c.Read(b); err != nil {
				break
			}
			n++
		}
		came <- n
	}()
	b := make([]byte, 100)
	begin := time.Now()
	for sent := 0; sent < total; {
		for due := min(total, int(time.Since(begin)/pause+1)*20); sent < due; sent++ {
			c.Write(b)
		}
		time.Sleep(time.Until(begin.Add(time.Duration(sent/20) * pause)))
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	return float64(total - <-came), true
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// networkReport prints the median of all rounds, and between what they were.
func networkReport(b *testing.B, subjects []*networkSubject) {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "\t")
	for _, s := range subjects {
		fmt.Fprintf(w, "%s\t", s.name)
	}
	for _, m := range networkMeasures {
		fmt.Fprintf(w, "\n%s, %s\t", m.name, m.unit)
		for _, s := range subjects {
			if v := s.values[m.name]; len(v) > 0 {
				fmt.Fprintf(w, "%.2f (%.2f to %.2f)", median(v), slices.Min(v), slices.Max(v))
			}
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w)
	w.Flush()
	load, _ := os.ReadFile("/proc/loadavg")
	b.Logf("median (smallest to largest) of %d rounds; load %s%s", b.N, load, &out)
}
